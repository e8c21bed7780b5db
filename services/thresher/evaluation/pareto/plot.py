"""FVU against L0 as one SVG, with the Pareto front: no script, no style sheet, no font of its own."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise

from thresher.contracts.errors import SpecError
from thresher.evaluation.pareto.points import DictionaryPoint

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 24, 60
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of Okabe and Ito (2008), which can be told apart with any colour vision."""
MAX_NAMED = 16
"""Points that are named in the plot; all are named by their tooltips."""


@dataclass(frozen=True)
class _Axis:
    """From a value to its place, over a range that is a little wider than the values."""

    low: float
    high: float
    start: float
    stop: float
    is_log: bool

    @classmethod
    def over(cls, values: Sequence[float], start: float, stop: float, *, is_log: bool) -> "_Axis":
        scaled = [math.log10(value) for value in values] if is_log else list(values)
        margin = 0.06 * (max(scaled) - min(scaled)) or 0.1 * (abs(scaled[0]) or 1)
        low = min(scaled) - margin
        return cls(low if is_log else max(low, 0), max(scaled) + margin, start, stop, is_log)

    def place(self, value: float) -> float:
        scaled = math.log10(value) if self.is_log else value
        return self.start + (scaled - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        low, high = (10**self.low, 10**self.high) if self.is_log else (self.low, self.high)
        if self.is_log and high / low >= 8:
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
        step = 10 ** math.floor(math.log10((high - low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 7)
        return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def plot_svg(points: Sequence[DictionaryPoint]) -> str:
    """The plot; dictionaries of one set of held-out rows have one front.

    Raises:
        SpecError: no dictionary has an L0 above 0.
    """
    shown = [point for point in points if point.l0 > 0]
    if not shown:
        raise SpecError("--svg", len(points), mend="None of these dictionaries has an active latent to draw.")
    x = _Axis.over([point.l0 for point in shown], LEFT, WIDTH - RIGHT, is_log=True)
    y = _Axis.over([point.fvu for point in shown], HEIGHT - BOTTOM, TOP, is_log=False)
    kinds = list(dict.fromkeys(point.architecture for point in shown))
    colours = {kind: COLOURS[index % len(COLOURS)] for index, kind in enumerate(kinds)}
    parts = [*_axes(x, y), *_fronts(shown, x, y), *_points(shown, x, y, colours), *_legend(colours)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="FVU against L0 of {len(shown)} dictionaries" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>", ""])


def _axes(x: _Axis, y: _Axis) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in x.ticks():
        at = f"{x.place(tick):.1f}"
        yield f'<line x1="{at}" y1="{TOP}" x2="{at}" y2="{bottom}" stroke="#ddd"/>'
        yield _text(at, bottom + 18, f"{tick:g}", "middle")
    for tick in y.ticks():
        at = f"{y.place(tick):.1f}"
        yield f'<line x1="{LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="#ddd"/>'
        yield _text(LEFT - 8, f"{y.place(tick) + 4:.1f}", f"{tick:.4g}", "end")
    yield f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444"/>'
    yield _text((LEFT + right) / 2, HEIGHT - 18, "L0: mean active latents a row (log scale)", "middle")
    yield (
        f'<text transform="translate(18 {(TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        "FVU: variance unexplained, held out</text>"
    )


def _fronts(points: Sequence[DictionaryPoint], x: _Axis, y: _Axis) -> Iterator[str]:
    """Steps: between two of the front, nothing is known to be better than the sparser one."""
    for _, group in groupby(points, key=lambda point: point.measured_on):
        front = [(x.place(point.l0), y.place(point.fvu)) for point in group if point.on_front]
        steps = "".join(f"H{right:.1f}V{lower:.1f}" for _, (right, lower) in pairwise(front))
        if steps:
            start = f"M{front[0][0]:.1f} {front[0][1]:.1f}"
            yield f'<path class="front" d="{start}{steps}" fill="none" stroke="#888" stroke-dasharray="5 3"/>'


def _points(points: Sequence[DictionaryPoint], x: _Axis, y: _Axis, colours: dict[str, str]) -> Iterator[str]:
    for point in points:
        colour, name = colours[point.architecture], escape(point.dictionary)
        left, top = x.place(point.l0), y.place(point.fvu)
        fill = colour if point.on_front else "#fff"
        yield (
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2">'
            f"<title>{name} ({escape(point.architecture)}): L0 {point.l0:.2f}, FVU {point.fvu:.4f}</title>"
            "</circle>"
        )
        if len(points) <= MAX_NAMED:
            yield _text(f"{left + 8:.1f}", f"{top - 6:.1f}", point.dictionary, "start")


def _legend(colours: dict[str, str]) -> Iterator[str]:
    left = WIDTH - RIGHT + 90
    for index, (kind, colour) in enumerate(colours.items()):
        top = TOP + 10 + 20 * index
        yield f'<circle cx="{left}" cy="{top}" r="5" fill="{colour}"/>'
        yield _text(left + 12, top + 4, kind, "start")
    top = TOP + 10 + 20 * len(colours)
    yield f'<circle cx="{left}" cy="{top}" r="4" fill="#fff" stroke="#444" stroke-width="2"/>'
    yield _text(left + 12, top + 4, "not on the front", "start")


def _text(left: object, top: object, text: str, anchor: str) -> str:
    return f'<text x="{left}" y="{top}" text-anchor="{anchor}">{escape(text)}</text>'
