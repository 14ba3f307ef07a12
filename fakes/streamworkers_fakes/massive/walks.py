"""Draws the minutes of a session of the fake market so that they add up to the session."""

from dataclasses import dataclass

import numpy as np

from streamworkers_fakes.massive.bars import Floats, Ints

_EXTENDED_WEIGHT = 0.05


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a session has to come to, in cents."""

    open: int
    close: int
    low: int
    high: int


def draw_regular(random: np.random.Generator, bounds: Bounds, minutes: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Open, high, low and close of each minute of a regular session, in cents, that come to its bounds."""
    span = bounds.high - bounds.low
    bridge = _bridge(random, minutes)
    straight = np.linspace(bounds.open, bounds.close, minutes + 1)
    path = np.rint(straight + 0.5 * span * bridge).clip(bounds.low, bounds.high).astype(np.int64)
    opens, highs, lows, closes = _with_wicks(random, path, bounds.low, bounds.high)
    highs[np.argmax(highs)] = bounds.high
    lows[np.argmin(lows)] = bounds.low
    return opens, highs, lows, closes


def draw_wandering(random: np.random.Generator, first: int, last: int, minutes: int) -> tuple[Ints, Ints, Ints, Ints]:
    """The same of minutes before or after a session, which only begin and end somewhere."""
    straight = np.linspace(first, last, minutes + 1)
    path = np.rint(straight + 0.004 * first * _bridge(random, minutes)).clip(1).astype(np.int64)
    return _with_wicks(random, path, 1, 10**9)


def _with_wicks(random: np.random.Generator, path: Ints, low: int, high: int) -> tuple[Ints, Ints, Ints, Ints]:
    opens, closes = path[:-1].copy(), path[1:]
    opens[1:] = (opens[1:] + random.integers(-1, 2, len(opens))[1:]).clip(low, high)
    wicks = random.exponential(0.0004 * float(path[0]) + 0.5, (2, len(closes))).astype(np.int64)
    highs = (np.maximum(opens, closes) + wicks[0]).clip(None, high)
    lows = (np.minimum(opens, closes) - wicks[1]).clip(low)
    return opens, highs, lows, closes


def _bridge(random: np.random.Generator, steps: int) -> Floats:
    """A random walk from 0 to 0 whose farthest point is 1 away; shape (steps + 1,)."""
    walk = np.concatenate(([0.0], np.cumsum(random.standard_normal(steps))))
    walk -= np.linspace(0.0, walk[-1], steps + 1)
    return walk / max(float(np.abs(walk).max()), 1e-9)


def choose_minutes(random: np.random.Generator, first: int, end: int, share: float) -> Ints:
    """Some of the minutes from `first` to `end`, in order."""
    count = round((end - first) * share)
    return first + np.sort(random.permutation(end - first)[:count])


def share_out(total: int, weights: Floats) -> Ints:
    """Whole numbers of 1 and more that sum to a total, about in proportion to weights."""
    reached = np.cumsum(weights)
    steps = np.floor(reached / reached[-1] * (total - len(weights))).astype(np.int64)
    numbers: Ints = 1 + np.diff(steps, prepend=0)
    return numbers


def weigh_minutes(random: np.random.Generator, before: int, regular: int, after: int) -> Floats:
    """How busy the minutes of a session are: more so at its open and close, hardly before and after."""
    shape = 1 + 2 * np.linspace(-1, 1, regular) ** 2
    usual = np.concatenate((np.full(before, _EXTENDED_WEIGHT), shape, np.full(after, _EXTENDED_WEIGHT)))
    return usual * random.uniform(0.4, 1.6, len(usual))
