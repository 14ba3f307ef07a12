-- Sessions of exchanges, so that workers need no calendar package. `streamworkers migrate` and schedulers fill them.
CREATE TABLE exchange_sessions (
    calendar  text NOT NULL,
    day       date NOT NULL,
    opens_at  timestamptz NOT NULL,
    closes_at timestamptz NOT NULL,
    PRIMARY KEY (calendar, day),
    CHECK (opens_at < closes_at)
);

-- The days that `exchange_sessions` covers: a day of this range without a row has no session.
CREATE TABLE exchange_calendars (
    calendar  text PRIMARY KEY,
    first_day date NOT NULL,
    last_day  date NOT NULL,
    filled_at timestamptz NOT NULL DEFAULT now(),
    CHECK (first_day <= last_day)
);
