"""The `thresher` command: one thin function a verb."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from thresher.contracts.errors import SpecError, ThresherError

app = typer.Typer(
    help="Harvest a language model's activations, fit sparse dictionaries, label every feature.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
SpecPath = Annotated[str, typer.Argument(metavar="SPEC", help="YAML spec; its schema is in schemas/.")]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec.", default_factory=list),
]
Root = Annotated[str, typer.Option(envvar="THRESHER_ROOT", help="file:///folder or s3://bucket/prefix.")]
StackFolder = Annotated[Path, typer.Option(help="Where the local stack keeps data, credentials and logs.")]
DEFAULT_STACK_FOLDER = Path(".thresher")


def _run(stage: str, spec: str, overrides: list[str]) -> None:
    from thresher.pipelines.job import run_stage

    print(run_stage(stage, spec, overrides))


@app.command()
def corpus(spec: SpecPath, overrides: Overrides) -> None:
    """Tokenise text, pack it into sequences, split it by document."""
    _run("corpus", spec, overrides)


@app.command()
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


@app.command("import")
def import_activations(spec: SpecPath, overrides: Overrides) -> None:
    """Import activations made elsewhere (.npy, .safetensors, Parquet) as a harvest."""
    _run("import", spec, overrides)


@app.command()
def fit(spec: SpecPath, overrides: Overrides) -> None:
    """Fit a sparse dictionary to harvested activations."""
    _run("fit", spec, overrides)


@app.command()
def sweep(spec: SpecPath, overrides: Overrides) -> None:
    """Fit a dictionary for every point of a grid, on as few reads as memory allows; compare them."""
    _run("sweep", spec, overrides)


@app.command("import-dictionary")
def import_dictionary(spec: SpecPath, overrides: Overrides) -> None:
    """Import a dictionary of SAELens, sparsify, dictionary_learning or Gemma Scope, as name@version."""
    _run("import-dictionary", spec, overrides)


@app.command()
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


@app.command()
def evaluate(spec: SpecPath, overrides: Overrides) -> None:
    """Splice a dictionary into its model: cross-entropy and KL recovered."""
    _run("evaluate", spec, overrides)


@app.command()
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


@app.command()
def encode(spec: SpecPath, overrides: Overrides) -> None:
    """Encode held-out text; build feature statistics and exemplars."""
    _run("encode", spec, overrides)


@app.command()
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


@app.command()
def families(spec: SpecPath, overrides: Overrides) -> None:
    """Link labels that say the same and features that are the same; name their families."""
    _run("families", spec, overrides)


@app.command()
def nightly(spec: SpecPath, overrides: Overrides) -> None:
    """Label what needs it most, within the night's windows; report what changed."""
    _run("nightly", spec, overrides)


@app.command()
def publish(spec: SpecPath, overrides: Overrides) -> None:
    """Publish a dictionary with its features and labels as an immutable release."""
    _run("publish", spec, overrides)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def submit(
    stage: Annotated[
        str,
        typer.Argument(
            help="corpus, harvest, import, fit, sweep, import-dictionary, evaluate, encode, label, families, nightly "
            "or publish."
        ),
    ],
    spec: SpecPath,
    overrides: Overrides,
    pass_env: Annotated[
        list[str], typer.Option(help="Give the job this variable; Ray shows it.", default_factory=list)
    ],
    address: Annotated[str | None, typer.Option(help="The cluster's dashboard, http://host:8265.")] = None,
    follow: Annotated[bool, typer.Option(help="Copy the job's log and return its exit code.")] = True,
) -> None:
    """Send a stage to a running Ray cluster as a job."""
    from thresher.pipelines.project_files import jobs_folder
    from thresher.runtime.submit import submit_stage

    code = submit_stage(
        stage, spec, overrides, address, jobs_folder=jobs_folder(), pass_env=pass_env, follow=follow
    )
    raise typer.Exit(code)


@app.command()
def up(
    folder: StackFolder = DEFAULT_STACK_FOLDER,
    model: Annotated[Path | None, typer.Option(help="Also serve this model folder with vLLM.")] = None,
) -> None:
    """Start the local stack (object store, with --model also a model server) until `thresher down`."""
    from thresher.runtime.local import stack

    plan = stack.StackPlan(folder, model_folder=model, served_name=model.name if model else "local")
    state = stack.up(plan)
    for server in state.servers:
        print(f"{server.name}: process {server.pid}, log {server.log}")
    print(f'Root {stack.ROOT}. Its environment: eval "$(thresher env --folder {folder})"')


@app.command()
def env(folder: StackFolder = DEFAULT_STACK_FOLDER) -> None:
    """Print the local stack's environment as shell exports. Holds its credentials."""
    from shlex import quote

    from thresher.runtime.local.stack import read_state

    for name, value in read_state(folder).environment.items():
        print(f"export {name}={quote(value)}")


@app.command()
def down(folder: StackFolder = DEFAULT_STACK_FOLDER) -> None:
    """Stop the local stack that `thresher up` or `thresher demo --keep` started. Its data stay."""
    from thresher.runtime.local import stack

    stopped = stack.down(folder)
    print(f"stopped {', '.join(stopped)}" if stopped else f"no local stack runs in {folder}")


@app.command()
def doctor(
    root: Annotated[str | None, typer.Option(envvar="THRESHER_ROOT", help="Root to try.")] = None,
) -> None:
    """Check this machine: Python, torch, vLLM, Ray, the store, the catalog, the model endpoint."""
    from thresher.pipelines.cataloguing import catalog_url
    from thresher.pipelines.doctor import examine

    checks = examine(root, catalog_url())
    for check in checks:
        print(check.line())
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


@app.command()
def demo(
    tokens: Annotated[int, typer.Option(min=20_000, help="Tokens of the corpus.")] = 120_000,
    features: Annotated[int, typer.Option(min=1, help="Features to label.")] = 24,
    root: Annotated[str | None, typer.Option(help="Use this store instead of a local one.")] = None,
    keep: Annotated[
        bool, typer.Option(help="Leave the object store running; `thresher down` stops it.")
    ] = False,
    folder: StackFolder = DEFAULT_STACK_FOLDER,
) -> None:
    """Run the whole chain on a local stack; run again, it resumes."""
    from thresher.pipelines.demo import DemoOptions, run_demo

    run_demo(DemoOptions(folder=folder, root=root, num_tokens=tokens, num_features=features, keep=keep))


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
