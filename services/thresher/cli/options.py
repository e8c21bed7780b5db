"""Options that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[str, typer.Argument(metavar="SPEC", help="YAML spec; its schema is in schemas/.")]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec.", default_factory=list),
]
Root = Annotated[str, typer.Option(envvar="THRESHER_ROOT", help="file:///folder or s3://bucket/prefix.")]
StackFolder = Annotated[Path, typer.Option(help="Where the local stack keeps data, credentials and logs.")]
DEFAULT_STACK_FOLDER = Path(".thresher")
