-- The volume of a bar may be unknown: files of currencies and indices have none. NULL is "unknown", 0 is "no trades".
-- Only catalogues change. A process of the release before skips bars without a volume when it reads a series.

ALTER TABLE ohlcv_daily ALTER COLUMN volume DROP NOT NULL;
ALTER TABLE ohlcv_weekly ALTER COLUMN volume DROP NOT NULL;
ALTER TABLE ohlcv_monthly ALTER COLUMN volume DROP NOT NULL;
ALTER TABLE ohlcv_hourly ALTER COLUMN volume DROP NOT NULL;
ALTER TABLE ohlcv_1min ALTER COLUMN volume DROP NOT NULL;
