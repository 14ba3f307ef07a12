"""What a value is measured in, and how a split changes it."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Dimension:
    """Powers of price and of volume; a ratio has neither.

    A split multiplies prices by its factor and divides volumes by it.
    """

    price: int = 0
    volume: int = 0

    def times(self, other: Self) -> Self:
        """The dimension of a product."""
        return type(self)(self.price + other.price, self.volume + other.volume)

    def over(self, other: Self) -> Self:
        """The dimension of a quotient."""
        return type(self)(self.price - other.price, self.volume - other.volume)

    def scale(self, factor: float) -> float:
        """What a constant of this dimension is multiplied by when prices are multiplied by `factor`."""
        return float(factor ** (self.price - self.volume))

    def __str__(self) -> str:
        powers = {"price": self.price, "volume": self.volume}
        words = [name if power == 1 else f"{name}^{power}" for name, power in powers.items() if power]
        return " * ".join(words) or "ratio"


RATIO = Dimension()
PRICE = Dimension(price=1)
VOLUME = Dimension(volume=1)
