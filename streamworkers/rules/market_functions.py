"""What the functions of `analysis` are measured in, and how many bars they need: facts that no function states itself.

The tests compute every function on scaled and shortened series and compare.
"""

from collections.abc import Callable, Mapping
from typing import Any

from streamworkers.rules.dimensions import PRICE, RATIO, VOLUME, Dimension

BAR_FIELDS: Mapping[str, Dimension] = {
    "price": PRICE,
    "open": PRICE,
    "high": PRICE,
    "low": PRICE,
    "volume": VOLUME,
}
BAR_ALIASES = {"close": "price"}

_PRICE_FUNCTIONS = """
    AC ACCBANDS ADD ADR AO APO ATR AVGDEV AVGPRICE BBANDS CUMSUM DEMA DONCHIAN DPO EMA ERI HA HMA HT_PHASOR HT_TRENDLINE
    KAMA KC LINEARREG LINEARREG_INTERCEPT LINEARREG_SLOPE MA MACD MACDEXT MACDFIX MAMA MAX MEDPRICE MIDPOINT MIDPRICE
    MIN MINMAX MINUS_DM MOM PERCENTILE PLUS_DM QSTICK RMA SAR SMA STDDEV SUB SUM SUPERTREND T3 TEMA TRANGE TRIMA TSF
    TYPPRICE VWAP VWMA WAD WCLPRICE WMA ZLEMA rolling_vwap anchored_vwap keltner donchian supertrend"""
_VOLUME_FUNCTIONS = "AD ADOSC OBV PVT"
_RATIO_FUNCTIONS = """
    ADX ADXR AROON AROONOSC BOP CCI CMF CMO CMOU COPPOCK CORREL CVI DIV DX ER FOSC FRACTAL HT_DCPERIOD HT_DCPHASE
    HT_SINE HT_TRENDMODE IMI KDJ MASSI MAXINDEX MFI MININDEX MINMAXINDEX MINUS_DI NATR NVI PERCENTRANK PLUS_DI PPO PVI
    PVO ROC ROCP ROCR ROCR100 RSI RVI RVOL SMI STOCH STOCHF STOCHRSI TRIX TSI ULTOSC VHF VORTEX WILLR relative_volume
    high_52w_distance low_52w_distance returns cmf"""
_DIMENSIONS = {
    **dict.fromkeys(_PRICE_FUNCTIONS.split(), PRICE),
    **dict.fromkeys(_VOLUME_FUNCTIONS.split(), VOLUME),
    **dict.fromkeys(_RATIO_FUNCTIONS.split(), RATIO),
    "EFI": Dimension(price=1, volume=1),
    "MARKETFI": Dimension(price=1, volume=-1),
    "MULT": Dimension(price=2),
    "VAR": Dimension(price=2),
}
_RATIO_OUTPUTS = {("SUPERTREND", "trend"), ("supertrend", "direction")}
# Sums, products and positions that count from the first bar that was read.
_WITHOUT_ORIGIN = """
    AD CUMSUM MAXINDEX MININDEX MINMAXINDEX NVI OBV PVI PVT VWAP WAD"""

OWN_LOOKBACKS: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "relative_volume": lambda params: int(params["period"]),
    "high_52w_distance": lambda params: int(params["period"]) - 1,
    "low_52w_distance": lambda params: int(params["period"]) - 1,
    "rolling_vwap": lambda params: int(params["period"]) - 1,
    "anchored_vwap": lambda _: 1,  # and the days of its anchor
    "returns": lambda params: int(params["period"]),
    "cmf": lambda params: int(params["period"]) - 1,
    "keltner": lambda params: max(int(params["period"]) - 1, int(params["atr_period"])),
    "donchian": lambda params: int(params["period"]) - 1,
    "supertrend": lambda params: int(params["period"]),
}
# The first bar of a year, quarter, month or day is defined if one bar of the period before it was read.
_ANCHOR_DAYS = {"year": 366 + 14, "quarter": 92 + 14, "month": 31 + 14, "day": 1 + 14, "session": 1 + 14}


def dimension_of(function: str, output: str) -> Dimension | None:
    """What an output is measured in; None for a function that is no product of powers, such as LN."""
    return RATIO if (function, output) in _RATIO_OUTPUTS else _DIMENSIONS.get(function)


def has_origin(function: str) -> bool:
    """False for a function whose values depend on which bar was read first."""
    return function not in _WITHOUT_ORIGIN.split()


def anchor_days(params: Mapping[str, Any]) -> int:
    """The calendar days that a function anchored to a period needs; 0 for all others."""
    return _ANCHOR_DAYS.get(str(params.get("anchor")), 0)
