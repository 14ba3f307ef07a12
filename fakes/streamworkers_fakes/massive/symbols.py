"""The symbols that the fake Massive API lists if nobody names others."""

DOW_30 = (
    "AAPL", "AMGN", "AMZN", "AXP", "BA", "CAT", "CRM", "CSCO", "CVX", "DIS", "GS", "HD", "HON", "IBM", "JNJ",
    "JPM", "KO", "MCD", "MMM", "MRK", "MSFT", "NKE", "NVDA", "PG", "SHW", "TRV", "UNH", "V", "VZ", "WMT",
)  # fmt: skip
DEFAULT_SYMBOLS = (*DOW_30, "AMD", "BRK.B", "DIA", "GOOG", "GOOGL", "INTC", "META", "NFLX", "QQQ", "SPY", "TSLA")
