"""Verbs that read what was made: pull, check, look at, compare, find, take elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from thresher.cli.options import Root

verbs = typer.Typer()


@verbs.command()
def pull(
    release: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version: the highest.")],
    destination: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    root: Root,
    group: Annotated[
        list[str], typer.Option(help="Only this group of files; may be given again.", default_factory=list)
    ],
) -> None:
    """Pull a release into a folder, every checksum verified before any file is visible."""
    from thresher.release import pull as pulling

    print(pulling.pull(root, release, destination, groups=group or None))


@verbs.command()
def verify(
    artifact: Annotated[
        str, typer.Argument(metavar="PATH", help="As in activations/ID, or a pulled folder.")
    ],
    root: Annotated[
        str | None, typer.Option(envvar="THRESHER_ROOT", help="Root that holds the artifact.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Also compare a harvest's rows with this model folder's own.")
    ] = None,
    sequences: Annotated[int, typer.Option(min=1, help="Sequences to compare, with --model.")] = 8,
) -> None:
    """Re-read every byte of an artifact or of a pulled folder; name each file, with --model each row, that differs."""
    from thresher.pipelines.inspection import canary, verify_anywhere

    faults = verify_anywhere(artifact, root)
    for fault in faults:
        print(fault)
    print(f"{artifact}: {f'{len(faults)} bad files' if faults else 'every file matches its checksum'}")
    agrees = True
    if model is not None:
        lines, agrees = canary(artifact, root, model, sequences)
        print("\n".join(lines))
    raise typer.Exit(0 if agrees and not faults else 1)


@verbs.command()
def inspect(
    artifact: Annotated[
        str,
        typer.Argument(metavar="PATH", help="As in activations/ID; a dictionary's also as NAME@VERSION."),
    ],
    root: Root,
    as_json: Annotated[bool, typer.Option("--json", help="Machine readable.")] = False,
    sample: Annotated[int, typer.Option(min=0, help="Rows of a harvest to measure on; 0 for none.")] = 4096,
    tokenizer: Annotated[str | None, typer.Option(help="Model folder, to show a harvest's tokens.")] = None,
) -> None:
    """Show what an artifact is and where it came from; of a harvest, a report on its rows."""
    from thresher.pipelines.inspection import inspect_lines

    for line in inspect_lines(artifact, root, sample_rows=sample, tokenizer=tokenizer, as_json=as_json):
        print(line)


@verbs.command()
def compare(
    dictionaries: Annotated[
        list[str], typer.Argument(metavar="NAME[@VERSION]...", help="Without a version: all of them.")
    ],
    root: Root,
    as_json: Annotated[bool, typer.Option("--json", help="Machine readable.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Also draw FVU against L0 into this file.")] = None,
) -> None:
    """Compare dictionaries by held-out FVU and L0, the Pareto front marked."""
    from thresher.pipelines.inspection import compare_lines

    for line in compare_lines(dictionaries, root, as_json=as_json, svg=svg):
        print(line)


@verbs.command()
def search(
    query: Annotated[str, typer.Argument(help="Words to find in labels.")],
    dictionary: Annotated[str | None, typer.Option(help="Only name@version.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    catalog: Annotated[str | None, typer.Option(envvar="THRESHER_CATALOG", help="Database url.")] = None,
) -> None:
    """Find features in the catalog by their labels."""
    from thresher.pipelines.inspection import search_lines

    for line in search_lines(query, dictionary, limit, catalog):
        print(line)


@verbs.command()
def export(
    dictionary: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="A dictionary under the root.")],
    format_name: Annotated[
        str, typer.Option("--format", help="saelens, sparsify, dictionary_learning or thresher.")
    ],
    root: Root,
    destination: Annotated[
        str | None,
        typer.Option("--to", help="Folder or s3://bucket/prefix to fill; else exports/ under the root."),
    ] = None,
) -> None:
    """Export a dictionary to a folder that another tool loads."""
    from thresher.dictionary.formats.export_dictionary import export_dictionary

    for url in export_dictionary(root, dictionary, format_name, destination):
        print(url)
