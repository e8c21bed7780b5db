"""Progress with rate and time left: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_INTERVAL_S = 10.0


class Meter(Protocol):
    """What long work reports to."""

    def advance(self, amount: int) -> None: ...

    def note(self, text: str) -> None:
        """What to say beside the figures from now on."""


@contextmanager
def progress(title: str, total: int, unit: str, done: int = 0) -> Iterator[Meter]:
    """Show how far `title` is, out of `total` units, of which `done` were there before (a resumed run)."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as bar:
            yield _BarMeter(bar, title, total, unit, done)
        return
    meter = _LineMeter(title, total, unit, done)
    try:
        yield meter
    finally:
        meter.close()


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


class _BarMeter:
    def __init__(self, bar: Progress, title: str, total: int, unit: str, done: int) -> None:
        self._bar, self._unit, self._start_s, self._new = bar, unit, time.monotonic(), 0
        self._task = bar.add_task(title, total=total, completed=done, unit=unit, rate="", note="")

    def advance(self, amount: int) -> None:
        self._new += amount
        rate = self._new / max(time.monotonic() - self._start_s, 1e-9)
        self._bar.update(self._task, advance=amount, rate=f"{rate:,.1f} {self._unit}/s")

    def note(self, text: str) -> None:
        self._bar.update(self._task, note=text)


class _LineMeter:
    def __init__(self, title: str, total: int, unit: str, done: int) -> None:
        self._title, self._total, self._unit, self._before, self._new = title, total, unit, done, 0
        self._start_s = self._shown_s = time.monotonic()
        self._note = ""

    def note(self, text: str) -> None:
        self._note = f", {text}"

    def advance(self, amount: int) -> None:
        self._new += amount
        if time.monotonic() - self._shown_s >= LINE_INTERVAL_S:
            self._show()

    def close(self) -> None:
        self._show()

    def _show(self) -> None:
        now_s = time.monotonic()
        elapsed_s, self._shown_s = now_s - self._start_s, now_s
        rate = self._new / max(elapsed_s, 1e-9)
        done = self._before + self._new
        left = f"{(self._total - done) / rate:,.0f} s left" if rate else "time left unknown"
        print(
            f"{self._title}: {done:,}/{self._total:,} {self._unit}, {rate:,.1f} {self._unit}/s, "
            f"{elapsed_s:,.0f} s, {left}{self._note}",
            file=sys.stderr,
            flush=True,
        )
