-- Bars that the sessions of the exchange would have and a provider has not, as it has answered twice.
CREATE TABLE absent_bars (
    timeframe text NOT NULL,
    symbol    text NOT NULL,
    first_bar timestamptz NOT NULL,
    last_bar  timestamptz NOT NULL,
    bars      integer NOT NULL,
    provider  text NOT NULL,
    asked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (timeframe, symbol, first_bar)
);
