-- Which exchange calendar the bars of a symbol follow. `pattern` is a symbol, or a text with one `*`, such as `X:*`; a
-- symbol of which no row says anything has the calendar of the setting STREAMWORKERS_CALENDAR.
CREATE TABLE symbol_calendars (
    pattern  text PRIMARY KEY CHECK (pattern <> '' AND pattern NOT LIKE '%*%*%'),
    calendar text NOT NULL CHECK (calendar <> '')
);
