-- Whether the bars of a series are real: those of a lower rank (invented < sample < real) never replace better ones.
-- The release before does not know the column; what it stores counts as real, as all bars of unknown origin do.
ALTER TABLE series_sources ADD COLUMN origin text NOT NULL DEFAULT 'real'
    CHECK (origin IN ('invented', 'sample', 'real'));
UPDATE series_sources SET origin = 'invented' WHERE provider = 'synthetic';
UPDATE series_sources SET origin = 'sample' WHERE provider = 'sample';
