-- What metrics, doctor and boards ask of deliveries.

-- When it was to go out: when its notification was decided, or its group, digest or quiet hours ended. `not_before` moves.
ALTER TABLE deliveries ADD COLUMN due_at timestamptz NOT NULL DEFAULT now();

-- Whether its provider has switched an endpoint off, and not its owner.
ALTER TABLE endpoints ADD COLUMN off_by_provider boolean NOT NULL DEFAULT false;

-- What stands, and does not wait.
CREATE INDEX deliveries_standing ON deliveries (state, channel) WHERE state IN ('sending', 'ambiguous', 'dead');
