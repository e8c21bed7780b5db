"""Verbs that make an artifact from a spec: each stage, in order."""

from typing import Annotated

import typer

from thresher.cli.options import Overrides, SpecPath

verbs = typer.Typer()


def _run(stage: str, spec: str, overrides: list[str]) -> None:
    from thresher.pipelines.job import run_stage

    print(run_stage(stage, spec, overrides))


@verbs.command()
def corpus(spec: SpecPath, overrides: Overrides) -> None:
    """Tokenise text, pack it into sequences, split it by document."""
    _run("corpus", spec, overrides)


@verbs.command()
def harvest(
    spec: SpecPath,
    overrides: Overrides,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Measure one engine, print rows, bytes, time and cost; store nothing."
        ),
    ] = False,
) -> None:
    """Run a corpus through a model in vLLM and store its activations."""
    if not dry_run:
        _run("harvest", spec, overrides)
        return
    from thresher.pipelines.dry_run import dry_run_lines

    for line in dry_run_lines(spec, overrides):
        print(line)


@verbs.command("import")
def import_activations(spec: SpecPath, overrides: Overrides) -> None:
    """Import activations made elsewhere (.npy, .safetensors, Parquet) as a harvest."""
    _run("import", spec, overrides)


@verbs.command()
def fit(spec: SpecPath, overrides: Overrides) -> None:
    """Fit a sparse dictionary to harvested activations."""
    _run("fit", spec, overrides)


@verbs.command()
def sweep(spec: SpecPath, overrides: Overrides) -> None:
    """Fit a dictionary for every point of a grid, on as few reads as memory allows; compare them."""
    _run("sweep", spec, overrides)


@verbs.command("import-dictionary")
def import_dictionary(spec: SpecPath, overrides: Overrides) -> None:
    """Import a dictionary of SAELens, sparsify, dictionary_learning or Gemma Scope, as name@version."""
    _run("import-dictionary", spec, overrides)


@verbs.command()
def evaluate(spec: SpecPath, overrides: Overrides) -> None:
    """Splice a dictionary into its model: cross-entropy and KL recovered."""
    _run("evaluate", spec, overrides)


@verbs.command()
def encode(spec: SpecPath, overrides: Overrides) -> None:
    """Encode held-out text; build feature statistics and exemplars."""
    _run("encode", spec, overrides)


@verbs.command()
def label(
    spec: SpecPath,
    overrides: Overrides,
    qualify: Annotated[
        bool, typer.Option("--qualify", help="Label nothing: try the spec's scorers on planted features.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Label nothing: print calls, tokens and cost. Asks no model.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan machine readable.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop before more than so many tokens.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Stop before a higher cost.")] = None,
) -> None:
    """Label features with a language model and score the labels."""
    from thresher.pipelines.planning import label_plan_lines, limited

    overrides = limited(overrides, max_tokens, max_cost)
    if plan:
        for line in label_plan_lines(spec, overrides, as_json=as_json):
            print(line)
        return
    if qualify:
        from thresher.pipelines.qualification import qualification_lines

        for line in qualification_lines(spec, overrides):
            print(line)
        return
    _run("label", spec, overrides)


@verbs.command()
def families(spec: SpecPath, overrides: Overrides) -> None:
    """Link labels that say the same and features that are the same; name their families."""
    _run("families", spec, overrides)


@verbs.command()
def nightly(spec: SpecPath, overrides: Overrides) -> None:
    """Label what needs it most, within the night's windows; report what changed."""
    _run("nightly", spec, overrides)


@verbs.command()
def publish(spec: SpecPath, overrides: Overrides) -> None:
    """Publish a dictionary with its features and labels as an immutable release."""
    _run("publish", spec, overrides)
