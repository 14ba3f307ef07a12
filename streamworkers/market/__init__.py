"""Market data: timeframes, bars and where they come from, universes."""
