"""TA-Lib's 61 candle functions: how many bars each spans, the trend expected before it, and its direction.

Nine are neutral whatever the sign of their signal, because the sign does not indicate a direction: the doji family
(doji, long-legged, dragonfly, gravestone, rickshaw man, takuri) is always positive, and for high wave, spinning top and
short line the sign is only the colour of the bar. All others are bullish if the signal is positive and bearish if it is
negative.

The trend expected before a pattern follows its common definition (reversal, continuation, or neither); where
definitions disagree it is "any".
"""

from collections.abc import Mapping

from streamworkers.analysis.pattern_traits import PatternTraits

CANDLE_TRAITS: Mapping[str, PatternTraits] = {
    "CDL2CROWS": PatternTraits(3, "opposite"),
    "CDL3BLACKCROWS": PatternTraits(3, "opposite"),
    "CDL3INSIDE": PatternTraits(3, "opposite"),
    "CDL3LINESTRIKE": PatternTraits(4, "same"),
    "CDL3OUTSIDE": PatternTraits(3, "opposite"),
    "CDL3STARSINSOUTH": PatternTraits(3, "opposite"),
    "CDL3WHITESOLDIERS": PatternTraits(3, "opposite"),
    "CDLABANDONEDBABY": PatternTraits(3, "opposite"),
    "CDLADVANCEBLOCK": PatternTraits(3, "opposite"),
    "CDLBELTHOLD": PatternTraits(1, "opposite"),
    "CDLBREAKAWAY": PatternTraits(5, "opposite"),
    "CDLCLOSINGMARUBOZU": PatternTraits(1, "any"),
    "CDLCONCEALBABYSWALL": PatternTraits(4, "opposite"),
    "CDLCOUNTERATTACK": PatternTraits(2, "opposite"),
    "CDLDARKCLOUDCOVER": PatternTraits(2, "opposite"),
    "CDLDOJI": PatternTraits(1, "any", neutral=True),
    "CDLDOJISTAR": PatternTraits(2, "opposite"),
    "CDLDRAGONFLYDOJI": PatternTraits(1, "any", neutral=True),
    "CDLENGULFING": PatternTraits(2, "opposite"),
    "CDLEVENINGDOJISTAR": PatternTraits(3, "opposite"),
    "CDLEVENINGSTAR": PatternTraits(3, "opposite"),
    "CDLGAPSIDESIDEWHITE": PatternTraits(3, "same"),
    "CDLGRAVESTONEDOJI": PatternTraits(1, "any", neutral=True),
    "CDLHAMMER": PatternTraits(1, "opposite"),
    "CDLHANGINGMAN": PatternTraits(1, "opposite"),
    "CDLHARAMI": PatternTraits(2, "opposite"),
    "CDLHARAMICROSS": PatternTraits(2, "opposite"),
    "CDLHIGHWAVE": PatternTraits(1, "any", neutral=True),
    "CDLHIKKAKE": PatternTraits(3, "any"),
    "CDLHIKKAKEMOD": PatternTraits(4, "opposite"),
    "CDLHOMINGPIGEON": PatternTraits(2, "opposite"),
    "CDLIDENTICAL3CROWS": PatternTraits(3, "opposite"),
    "CDLINNECK": PatternTraits(2, "same"),
    "CDLINVERTEDHAMMER": PatternTraits(1, "opposite"),
    "CDLKICKING": PatternTraits(2, "any"),
    "CDLKICKINGBYLENGTH": PatternTraits(2, "any"),
    "CDLLADDERBOTTOM": PatternTraits(5, "opposite"),
    "CDLLONGLEGGEDDOJI": PatternTraits(1, "any", neutral=True),
    "CDLLONGLINE": PatternTraits(1, "any"),
    "CDLMARUBOZU": PatternTraits(1, "any"),
    "CDLMATCHINGLOW": PatternTraits(2, "opposite"),
    "CDLMATHOLD": PatternTraits(5, "same"),
    "CDLMORNINGDOJISTAR": PatternTraits(3, "opposite"),
    "CDLMORNINGSTAR": PatternTraits(3, "opposite"),
    "CDLONNECK": PatternTraits(2, "same"),
    "CDLPIERCING": PatternTraits(2, "opposite"),
    "CDLRICKSHAWMAN": PatternTraits(1, "any", neutral=True),
    "CDLRISEFALL3METHODS": PatternTraits(5, "same"),
    "CDLSEPARATINGLINES": PatternTraits(2, "same"),
    "CDLSHOOTINGSTAR": PatternTraits(1, "opposite"),
    "CDLSHORTLINE": PatternTraits(1, "any", neutral=True),
    "CDLSPINNINGTOP": PatternTraits(1, "any", neutral=True),
    "CDLSTALLEDPATTERN": PatternTraits(3, "opposite"),
    "CDLSTICKSANDWICH": PatternTraits(3, "opposite"),
    "CDLTAKURI": PatternTraits(1, "any", neutral=True),
    "CDLTASUKIGAP": PatternTraits(3, "same"),
    "CDLTHRUSTING": PatternTraits(2, "same"),
    "CDLTRISTAR": PatternTraits(3, "opposite"),
    "CDLUNIQUE3RIVER": PatternTraits(3, "opposite"),
    "CDLUPSIDEGAP2CROWS": PatternTraits(3, "opposite"),
    "CDLXSIDEGAP3METHODS": PatternTraits(3, "same"),
}
