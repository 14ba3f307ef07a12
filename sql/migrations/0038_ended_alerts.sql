-- An alert about a symbol that was delisted ends for it, instead of being blind for ever.
ALTER TABLE alert_symbols ADD COLUMN ended_since timestamptz; -- since when its owner knows of the delisting

-- A split counts from when its transaction records it, not from when that began: a rule that was written in between is
-- in the prices before the split.
ALTER TABLE series_changes ALTER COLUMN created_at SET DEFAULT clock_timestamp();
