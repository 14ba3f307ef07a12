"""Sources of bars other than files: each yields `BarRows` for `bars_store.load_rows`."""
