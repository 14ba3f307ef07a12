-- Users to whom nothing is sent any more; what they own stays.
ALTER TABLE users ADD COLUMN disabled_at timestamptz;
