"""The demo: the whole chain on a local stack, from text to a pulled, labelled dictionary."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from thresher.pipelines.demo_report import print_places, print_table

DEFAULT_TOKENS = 200_000
DEFAULT_FEATURES = 24

T = TypeVar("T")


@dataclass(frozen=True)
class DemoOptions:
    """What the command's options shape."""

    folder: Path
    """Where the local stack keeps data, credentials, logs and the catalog."""
    root: str | None = None
    """A store of the user's own instead of the local SeaweedFS."""
    num_tokens: int = DEFAULT_TOKENS
    """Tokens of the corpus."""
    num_features: int = DEFAULT_FEATURES
    """Features to label."""
    keep: bool = False
    """Leave the object store running at the end, for `thresher search` and `thresher pull`."""


@dataclass
class Stopwatch:
    """Announces each stage and remembers how long it took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.console.print(f"[bold]{name}[/bold]")
        start_s = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start_s

    def run(self, name: str, make: Callable[[], T], say: Callable[[T], str]) -> T:
        with self.stage(name):
            made = make()
        self.console.print(f"  {say(made)}  [dim]{self.seconds[name]:.1f} s[/dim]", highlight=False)
        return made


def run_demo(options: DemoOptions) -> None:
    """Run what is missing of the chain, and show what it made. Everything started is stopped at the end."""
    from thresher.pipelines.demo_stack import demo_stack

    console = Console()
    watch = Stopwatch(console)
    with ExitStack() as exits:
        with watch.stage("stack"):
            stack = exits.enter_context(demo_stack(options.folder, options.root, options.keep))
        labels, release, pulled = _chain(options, watch, stack.root, stack.llm_endpoint)
        print_table(console, stack.root, labels, pulled)
        print_places(console, options, stack.root, release, pulled)
    console.print(
        "Wall time: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in watch.seconds.items())
    )
    console.print(f"In all {sum(watch.seconds.values()):.0f} s")
