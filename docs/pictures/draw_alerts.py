"""Draws the pictures of docs/guides/alerts.md from its examples with the real engine: `make pictures`."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from alert_examples import Example, read_examples
from streamworkers.alerts.step import AlertStatus
from streamworkers.alerts.trial import Trial
from streamworkers.rules.printer import print_value
from streamworkers.rules.tree import Channel, Comparison, Crossing, Leaf, Move, PatternMatch, Range, Value, leaves

IMAGES = Path(__file__).parents[1] / "images" / "alerts"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM, _STRIP = 640, 210, 46, 12, 26, 46, 14
_STATES = {
    AlertStatus.ARMED: "#dfe7ef",
    AlertStatus.PENDING: "#f5d58b",
    AlertStatus.FIRED: "#e79a94",
    AlertStatus.DONE: "#8d99a6",
}
_LINES = ("#1f5f99", "#7a7f87", "#7a7f87")


def draw(example: Example) -> str:
    """The picture of an example: what the rule compares, where it fires, where it is released, and its states."""
    trial, _ = example.run()
    lines = _values(trial)
    scale = _Scale([value for _, values in lines for value in values], len(trial.closes))
    head = 'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11" role="img"'
    parts = [
        f'<svg {head} viewBox="0 0 {_WIDTH} {_HEIGHT}"><title>{escape(example.title)}</title>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_axis(scale),
        *(_line(values, scale, place) for place, (_, values) in enumerate(lines)),
        *_legend([name for name, _ in lines]),
        *_events(trial, lines[0][1], scale),
        *_strip(trial, scale),
        "</svg>\n",
    ]
    return "\n".join(parts)


class _Scale:
    """Places of bars and values in the picture."""

    def __init__(self, values: Sequence[float], bars: int) -> None:
        known = [value for value in values if math.isfinite(value)]
        low, high = min(known), max(known)
        margin = (high - low) * 0.12 or 1.0
        self.low, self.high, self.bars = low - margin, high + margin, bars
        self.step = (_WIDTH - _LEFT - _RIGHT) / bars

    def x(self, bar: int) -> float:
        return round(_LEFT + (bar + 0.5) * self.step, 1)

    def y(self, value: float) -> float:
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + (self.high - value) / (self.high - self.low) * height, 1)


def _values(trial: Trial) -> list[tuple[str, list[float]]]:
    """The left side of the first condition of the rule, and its level or bounds."""
    leaf = next(leaves(trial.alert.rule.rule))
    return [(print_value(each), trial.alert.rule.operand(each, trial.columns).tolist()) for each in _sides(leaf)]


def _sides(leaf: Leaf) -> tuple[Value, ...]:
    match leaf:
        case Comparison() | Crossing():
            return leaf.left, leaf.right
        case Range() | Channel():
            return leaf.left, leaf.low, leaf.high
        case Move():
            return (leaf.left,)
        case PatternMatch():
            raise ValueError(f"{leaf.pattern.name} is a pattern, which has no values to draw")


def _axis(scale: _Scale) -> Iterator[str]:
    size = 10 ** math.floor(math.log10(scale.high - scale.low))
    step = next(size * part for part in (0.2, 0.5, 1, 2) if (scale.high - scale.low) / (size * part) <= 5)
    tick = math.ceil(scale.low / step) * step
    while tick <= scale.high:
        y = scale.y(tick)
        yield f'<path d="M{_LEFT} {y}H{_WIDTH - _RIGHT}" stroke="#e6e8eb"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end" fill="#5c6269">{round(tick, 6):g}</text>'
        tick += step
    for bar in range(scale.bars):
        x, style = scale.x(bar), 'text-anchor="middle" font-size="9" fill="#5c6269"'
        yield f'<text x="{x}" y="{_HEIGHT - 8}" {style}>{bar + 1}</text>'


def _line(values: Sequence[float], scale: _Scale, place: int) -> str:
    path, draws = "", False
    for bar, value in enumerate(values):
        if math.isfinite(value):
            path += f"{'L' if draws else 'M'}{scale.x(bar)} {scale.y(value)}"
        draws = math.isfinite(value)
    style = f'stroke="{_LINES[place]}"' + ("" if place == 0 else ' stroke-dasharray="5 3"')
    return f'<path d="{path}" fill="none" stroke-width="{2 if place == 0 else 1.5}" {style}/>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = float(_LEFT)
    for place, name in enumerate(names):
        dash = "" if place == 0 else ' stroke-dasharray="5 3"'
        yield f'<path d="M{x:g} 12h18" stroke="{_LINES[place]}" stroke-width="2"{dash}/>'
        yield f'<text x="{x + 23:g}" y="16" fill="#2b2f33">{escape(name)}</text>'
        x += 40 + 6.2 * len(name)
    yield f'<path d="M{_WIDTH - 150} 8l5 9h-10z" fill="#b3261e"/>'
    yield f'<text x="{_WIDTH - 141}" y="16" fill="#2b2f33">fires</text>'
    yield f'<circle cx="{_WIDTH - 98}" cy="12" r="4" fill="#ffffff" stroke="#1f7a3d" stroke-width="2"/>'
    yield f'<text x="{_WIDTH - 90}" y="16" fill="#2b2f33">released</text>'


def _events(trial: Trial, values: Sequence[float], scale: _Scale) -> Iterator[str]:
    for bar, step in enumerate(trial.steps):
        x, y = scale.x(bar), scale.y(values[bar] if math.isfinite(values[bar]) else scale.low)
        if step.released:
            yield f'<circle cx="{x}" cy="{y}" r="5" fill="#ffffff" stroke="#1f7a3d" stroke-width="2"/>'
        if step.fired:
            yield f'<path d="M{x} {round(y - 15, 1)}l5.5 10h-11z" fill="#b3261e"/>'


def _strip(trial: Trial, scale: _Scale) -> Iterator[str]:
    """The state after each bar, by colour, with its name where it fits."""
    y, first = _HEIGHT - _BOTTOM + 10, 0
    for status, run in groupby(step.state.status for step in trial.steps):
        bars = len(list(run))
        x, width = round(_LEFT + first * scale.step, 1), round(bars * scale.step, 1)
        yield f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{_STRIP}" fill="{_STATES[status]}"/>'
        if width > 7 * len(status):
            yield f'<text x="{x + 3:g}" y="{y + 11}" fill="#2b2f33">{status}</text>'
        first += bars


def main() -> None:
    """Write the picture of every example."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for example in read_examples():
        (IMAGES / example.picture).write_text(draw(example), encoding="utf-8")


if __name__ == "__main__":
    main()
