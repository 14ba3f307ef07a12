"""An invented evening: fourteen days of runs, bars and results, and a day of series, the same for the same seed."""
