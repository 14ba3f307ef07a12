-- Recent gaps of series that people were notified of; a row goes when its gap is filled.
CREATE TABLE data_gaps (
    timeframe text        NOT NULL,
    symbol    text        NOT NULL,
    first_bar timestamptz NOT NULL,
    last_bar  timestamptz NOT NULL,
    bars      integer     NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timeframe, symbol)
);
