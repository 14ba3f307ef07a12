-- The installation that this ledger belongs to. Its id is also kept in Redis, beside the keys of the pool, so that two
-- installations do not share them; their prefix is kept here, so that one ledger has one pool.
CREATE TABLE installation (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    key_prefix text
);
INSERT INTO installation DEFAULT VALUES;
