"""The `thresher` command: one thin function a verb."""

import sys

import typer

from thresher.cli import artifacts, machines, stages
from thresher.contracts.errors import SpecError, ThresherError

app = typer.Typer(
    help="Harvest a language model's activations, fit sparse dictionaries, label every feature.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for group in (stages, artifacts, machines):
    app.add_typer(group.verbs)


def main() -> None:
    """Entry point: errors for the user are one line; exit codes are 0 done, 1 failed, 2 usage or bad spec."""
    try:
        app(standalone_mode=True)
    except SpecError as error:
        _fail(error, 2)
    except ThresherError as error:
        _fail(error, 1)


def _fail(error: ThresherError, code: int) -> None:
    print(f"thresher: {error}", file=sys.stderr)
    sys.exit(code)
