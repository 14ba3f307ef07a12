-- The newest bar of which a firing was deleted by its retention: what goes back behind it cannot be compared any more.
ALTER TABLE alert_state ADD COLUMN forgotten_through timestamptz;
