-- What every writer of bars has changed, in its own transaction; `n` is in the order of commits, for each timeframe.
-- Bar times of day, week and month are midnight in New York. Without bars it is a change of an unknown range.
CREATE TABLE series_changes (
    timeframe  text NOT NULL,
    n          bigint GENERATED ALWAYS AS IDENTITY,
    symbol     text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('append', 'correct', 'rebase')),
    first_bar  timestamptz,
    last_bar   timestamptz,
    factor     double precision CHECK (factor > 0),  -- of the prices of a rebase; null: unknown
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timeframe, n)
);
CREATE INDEX series_changes_age ON series_changes (created_at);

-- Up to which bar a series is complete: closed, and stored after its end.
CREATE TABLE series_state (
    timeframe        text NOT NULL,
    symbol           text NOT NULL,
    complete_through timestamptz,
    last_change      bigint,
    PRIMARY KEY (timeframe, symbol)
);
