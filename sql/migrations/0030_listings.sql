-- Since when and until when symbols are listed, as their provider has answered; null: not known, or listed still.
CREATE TABLE listings (
    symbol         text PRIMARY KEY,
    listed_from    date,
    delisted_after date,
    provider       text NOT NULL,
    asked_at       timestamptz NOT NULL DEFAULT now()
);
