-- What the bars of each symbol and timeframe were loaded as, and what a load has fetched so far.

-- Prices are adjusted for the splits that were executed up to `adjusted_on`. A split after it, or another choice of
-- hours, makes the stored bars another series than the new ones: then they are loaded again, all of them.
CREATE TABLE bar_bases (
    symbol      text        NOT NULL,
    timeframe   text        NOT NULL,
    provider    text        NOT NULL,
    adjusted    boolean,
    hours       text        NOT NULL CHECK (hours IN ('regular', 'extended')),
    hour_anchor text        NOT NULL CHECK (hour_anchor IN ('clock', 'open')),
    adjusted_on date        NOT NULL,
    last_split  date,
    fetched_at  timestamptz NOT NULL,
    newest_fetched_at timestamptz,  -- when the newest stored bar was fetched: it may have been open then
    run_id      bigint      NOT NULL,
    PRIMARY KEY (symbol, timeframe)
);

-- Parts of answers that a load keeps while it waits for its next call, and answers that all items of a run share.
-- Unlogged: after a crash of the server they are asked for again.
CREATE UNLOGGED TABLE load_pages (
    run_id     bigint      NOT NULL,
    key        text        NOT NULL,
    page       integer     NOT NULL,
    packed     bytea       NOT NULL,
    cursor     text,
    refused    jsonb       NOT NULL DEFAULT '[]',
    fetched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, key, page)
);
CREATE INDEX load_pages_age ON load_pages (fetched_at);
