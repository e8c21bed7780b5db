"""Verbs about where work runs: the cluster, the local stack, this machine."""

from pathlib import Path
from typing import Annotated

import typer

from thresher.cli.options import DEFAULT_STACK_FOLDER, Overrides, SpecPath, StackFolder

verbs = typer.Typer()


@verbs.command()
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


@verbs.command()
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


@verbs.command()
def env(folder: StackFolder = DEFAULT_STACK_FOLDER) -> None:
    """Print the local stack's environment as shell exports. Holds its credentials."""
    from shlex import quote

    from thresher.runtime.local.stack import read_state

    for name, value in read_state(folder).environment.items():
        print(f"export {name}={quote(value)}")


@verbs.command()
def down(folder: StackFolder = DEFAULT_STACK_FOLDER) -> None:
    """Stop the local stack that `thresher up` or `thresher demo --keep` started. Its data stay."""
    from thresher.runtime.local import stack

    stopped = stack.down(folder)
    print(f"stopped {', '.join(stopped)}" if stopped else f"no local stack runs in {folder}")


@verbs.command()
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


@verbs.command()
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
