"""The `thresher` command: one thin function a verb."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from thresher.contracts.errors import SpecError, ThresherError

app = typer.Typer(
    help="Harvest a language model's activations, fit sparse dictionaries, label every feature.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console(soft_wrap=True)

SpecPath = Annotated[str, typer.Argument(metavar="SPEC", help="YAML spec; its schema is in schemas/.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec.")
]
Root = Annotated[str, typer.Option(envvar="THRESHER_ROOT", help="file:///folder or s3://bucket/prefix.")]
StackFolder = Annotated[Path, typer.Option(help="Where the local stack keeps data, credentials and logs.")]
DEFAULT_STACK_FOLDER = Path(".thresher")


def _run(stage: str, spec: str, overrides: list[str]) -> None:
    from thresher.pipelines.job import run_stage

    print(run_stage(stage, spec, overrides))


@app.command()
def corpus(spec: SpecPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Tokenise text, pack it into sequences, split it by document."""
    _run("corpus", spec, overrides)


@app.command()
def harvest(spec: SpecPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Run a corpus through a model in vLLM and store its activations."""
    _run("harvest", spec, overrides)


@app.command()
def fit(spec: SpecPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Fit a sparse dictionary to harvested activations."""
    _run("fit", spec, overrides)


@app.command()
def encode(spec: SpecPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Encode held-out text; build feature statistics and exemplars."""
    _run("encode", spec, overrides)


@app.command()
def label(spec: SpecPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Label features with a language model and score the labels."""
    _run("label", spec, overrides)


@app.command()
def publish(spec: SpecPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Publish a dictionary with its features and labels as an immutable release."""
    _run("publish", spec, overrides)


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
