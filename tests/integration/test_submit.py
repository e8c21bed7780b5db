"""A job on a Ray cluster of the test's own, with token authentication, from another process."""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from thresher.runtime.local.processes import (
    LOOPBACK,
    free_port,
    start_process,
    wait_until_healthy,
)

pytestmark = pytest.mark.real

PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "runtime-env-agent-port",
    "node-manager-port",
    "object-manager-port",
)
JOB = """
import os
import sys

import thresher
import yaml

spec = yaml.safe_load(open(sys.argv[1]))
print("spec says", spec["word"], "and arguments", sys.argv[2:])
print("package from", thresher.__file__)
print("region", os.environ.get("SUBMIT_TEST_REGION"), "secret", os.environ.get("SUBMIT_TEST_SECRET"))
sys.exit(spec["exit_code"])
"""


@dataclass(frozen=True)
class Cluster:
    url: str
    """Of the dashboard."""
    address: str
    """Of the cluster's control store, for drivers."""
    token_file: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ray")
    token_file = folder / "token"
    token_file.write_text(uuid.uuid4().hex * 2)
    ports = {name: free_port() for name in PORTS}
    # A short folder: Ray's sockets lie in it, and their paths hold at most 107 bytes.
    short_folder = Path(f"/tmp/ray-{uuid.uuid4().hex[:8]}")
    command = [
        "ray",
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        f"--node-ip-address={LOOPBACK}",
        f"--dashboard-host={LOOPBACK}",
        f"--temp-dir={short_folder}",
        "--object-store-memory=100000000",
        "--disable-usage-stats",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    process = start_process("ray", command, folder / "ray.log", environment=environment)
    url = f"http://{LOOPBACK}:{ports['dashboard-port']}"
    wait_until_healthy(process, lambda: answers(url, token_file.read_text()), timeout_s=90)
    yield Cluster(url, f"{LOOPBACK}:{ports['port']}", token_file)
    process.stop(grace_s=5)
    shutil.rmtree(short_folder)


def answers(url: str, token: str) -> bool:
    request = urllib.request.Request(f"{url}/api/version", headers={"Authorization": f"Bearer {token}"})
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "speak.py").write_text(JOB)
    return folder


def submitted(
    cluster: Cluster,
    jobs: Path,
    *,
    exit_code: int,
    arguments: str = "",
    token_file: Path | None = None,
    **variables: str,
) -> "subprocess.CompletedProcess[str]":
    """Submit in a process of its own, since Ray reads the token once a process."""
    spec = jobs.parent / "given.yaml"
    spec.write_text(f"word: grain\nexit_code: {exit_code}\n")
    code = (
        "import sys; from pathlib import Path; from thresher.runtime.submit import submit_stage; "
        f"sys.exit(submit_stage('speak', {str(spec)!r}, ['a=1', 'b=two words'], {cluster.url!r}, "
        f"jobs_folder=Path({str(jobs)!r}), {arguments}))"
    )
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file or cluster.token_file)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **token, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_job_runs_the_shipped_code_and_its_log_comes_back(cluster: Cluster, jobs: Path) -> None:
    done = submitted(
        cluster,
        jobs,
        exit_code=0,
        arguments="pass_env=['SUBMIT_TEST_REGION']",
        SUBMIT_TEST_REGION="north",
        SUBMIT_TEST_SECRET="hush",
    )
    assert done.returncode == 0, done.stderr
    assert "spec says grain and arguments ['--set', 'a=1', '--set', 'b=two words']" in done.stdout
    assert "region north secret None" in done.stdout
    assert "hush" not in done.stdout + done.stderr
    [shipped] = re.findall("package from (.*)", done.stdout)
    assert "working_dir" in shipped
    assert not Path(shipped).is_relative_to(Path.cwd())


def test_the_exit_code_of_a_failing_job_comes_back_with_its_log(cluster: Cluster, jobs: Path) -> None:
    done = submitted(cluster, jobs, exit_code=7)
    assert done.returncode == 7, done.stderr
    assert "spec says grain" in done.stdout


def test_a_job_that_is_not_followed_is_only_submitted(cluster: Cluster, jobs: Path) -> None:
    done = submitted(cluster, jobs, exit_code=7, arguments="follow=False")
    assert done.returncode == 0, done.stderr
    assert "spec says" not in done.stdout
    assert "submitted raysubmit_" in done.stderr


def test_a_wrong_token_is_refused_in_words(cluster: Cluster, jobs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-token"
    other.write_text("0" * 64)
    done = submitted(cluster, jobs, exit_code=0, token_file=other)
    assert done.returncode != 0
    assert "ClusterError" in done.stderr
    assert "refused this user: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH" in done.stderr


def test_a_script_joins_the_cluster_and_leaves_it_running(cluster: Cluster) -> None:
    """connect() at the cluster's own address; its workers see the settings and not the credentials."""
    code = (
        "import os, ray; from thresher.runtime.ray_cluster import connect, disconnect; connect(); connect()\n"
        "names = ['THRESHER_CACHE', 'AWS_SECRET_ACCESS_KEY']\n"
        "print(ray.get(ray.remote(lambda: [os.environ.get(name) for name in names]).remote())); disconnect()\n"
        "print(ray.is_initialized())"
    )
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(cluster.token_file)}
    settings = {"RAY_ADDRESS": cluster.address, "THRESHER_CACHE": "/there", "AWS_SECRET_ACCESS_KEY": "hush"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    environment_of_worker, is_connected = done.stdout.splitlines()[-2:]
    assert environment_of_worker.startswith("['/there', "), done.stderr
    assert "hush" not in environment_of_worker
    assert is_connected == "False"
    assert answers(cluster.url, cluster.token_file.read_text())
