"""Submits a stage to a Ray cluster as a job: ships the code and the spec, follows the log, returns the exit code."""

import asyncio
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import thresher
from thresher.contracts.errors import ClusterError, SpecError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
REACH_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 1.0
EXIT_FAILED = 1
SPEC_NAME = "spec.yaml"
SHIPPED_PACKAGE = Path(thresher.__file__).parent


def submit_stage(
    stage: str,
    spec_path: str,
    overrides: Sequence[str],
    address: str | None,
    *,
    jobs_folder: Path,
    pass_env: Sequence[str] = (),
    follow: bool = True,
) -> int:
    """Run `jobs_folder`/STAGE.py on a cluster with a spec of this machine.

    The package, the jobs and the spec are shipped, so the cluster needs thresher's dependencies only, and paths
    in the spec must hold on its nodes. Variables named in `pass_env` are given to the job; Ray writes them to the
    cluster's logs, so none is passed unasked.

    Args:
        address: url of the cluster's dashboard, http://host:8265; else RAY_API_SERVER_ADDRESS or RAY_ADDRESS.
        follow: copy the job's log to stdout until it ends; else return once it is submitted.

    Returns:
        The job's exit code; 1 if Ray could not start it or it was stopped; 0 if it is not followed.

    Raises:
        SpecError: a file, the address or a variable is not there.
        ClusterError: nothing answers at the address within 5 s, or it refuses this user.
    """
    job_file = jobs_folder / f"{stage}.py"
    if not job_file.is_file():
        stages = sorted(file.stem for file in jobs_folder.glob("*.py"))
        raise SpecError("stage", stage, allowed=stages, mend="Name a stage that has a job.")
    if not Path(spec_path).is_file():
        raise SpecError("spec", spec_path, mend="Give the path of a YAML file that exists.")
    environment = _passed(pass_env)
    client = _client(_dashboard_url(address))
    arguments = [argument for override in overrides for argument in ("--set", override)]
    with tempfile.TemporaryDirectory(prefix="thresher-submit-") as folder:
        _pack(Path(folder), jobs_folder, Path(spec_path))
        job_id = client.submit_job(
            entrypoint=shlex.join(["python", f"jobs/{stage}.py", SPEC_NAME, *arguments]),
            runtime_env={"working_dir": folder, "env_vars": environment},
            metadata={"thresher_stage": stage},
        )
    print(f"submitted {job_id}", file=sys.stderr, flush=True)
    return _follow(client, job_id) if follow else 0


def _passed(names: Iterable[str]) -> dict[str, str]:
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise SpecError("--pass-env", missing[0], mend="Set the variable before it is passed on.")
    return {name: os.environ[name] for name in names}


def _dashboard_url(address: str | None) -> str:
    found = address or next((os.environ[name] for name in ADDRESS_VARIABLES if name in os.environ), None)
    if found is None or not re.match(r"https?://[^/]+", found):
        raise SpecError(
            "address",
            found,
            allowed="http://HOST:8265 or https://HOST",
            mend=f"Give the url of the cluster's dashboard, or set {ADDRESS_VARIABLES[0]} to it.",
        )
    return found.rstrip("/")


def _client(url: str) -> "JobSubmissionClient":
    _reach(url)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(url)
    except AuthenticationError as error:
        raise ClusterError(
            f"The Ray cluster at {url} refused this user: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the "
            "file that holds the cluster's token."
        ) from error
    except (RuntimeError, ConnectionError) as error:
        raise ClusterError(
            f"What answers at {url} is no Ray dashboard: {error}. Correct the address."
        ) from error


def _reach(url: str) -> None:
    """Ray's client waits without limit for a host that is silent: find out first."""
    try:
        urllib.request.urlopen(f"{url}/api/version", timeout=REACH_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # it answers; what it refuses, the client explains
    except (OSError, HTTPException) as error:
        raise ClusterError(
            f"No Ray cluster answers at {url} ({error}). Start one, correct the address, or forward its port: "
            "kubectl port-forward service/HEAD 8265:8265."
        ) from error


def _pack(folder: Path, jobs_folder: Path, spec_file: Path) -> None:
    """What the job finds in its working folder, which Ray puts on the import path of all its workers."""
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SHIPPED_PACKAGE, folder / SHIPPED_PACKAGE.name, ignore=compiled)
    shutil.copytree(jobs_folder, folder / "jobs", ignore=compiled)
    shutil.copyfile(spec_file, folder / SPEC_NAME)


def _follow(client: "JobSubmissionClient", job_id: str) -> int:
    try:
        asyncio.run(_print_log(client, job_id))
        details = _wait(client, job_id)
    except KeyboardInterrupt:
        print(f"{job_id} goes on; `ray job stop {job_id}` ends it.", file=sys.stderr)
        raise
    if details.driver_exit_code is None:
        print(f"{job_id} {details.status}: {details.message}", file=sys.stderr)
        return EXIT_FAILED
    return int(details.driver_exit_code)


async def _print_log(client: "JobSubmissionClient", job_id: str) -> None:
    import aiohttp

    try:
        async for lines in client.tail_job_logs(job_id):
            print(lines, end="", flush=True)
    except (RuntimeError, aiohttp.ClientError) as error:
        print(f"The log of {job_id} broke off ({error}); waiting for the job itself.", file=sys.stderr)


def _wait(client: "JobSubmissionClient", job_id: str) -> Any:
    """The job's details once it has ended."""
    while not (details := client.get_job_info(job_id)).status.is_terminal():
        time.sleep(POLL_INTERVAL_S)
    return details
