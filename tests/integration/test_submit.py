"""A job on a Ray cluster of the test's own, with token authentication, from another process."""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import thresher
from thresher.activations.sequences import open_sequences
from thresher.catalog import open_catalog
from thresher.catalog.browse import list_dictionaries
from thresher.contracts import paths
from thresher.contracts.manifests import NightlyManifest
from thresher.runtime.local.processes import (
    LOOPBACK,
    free_port,
    start_process,
    wait_until_healthy,
)
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record

pytestmark = pytest.mark.real

BIN = Path(sys.executable).parent
JOBS = Path(thresher.__file__).parents[2] / "jobs"
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
        str(BIN / "ray"),
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
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "PATH": f"{BIN}:{os.environ['PATH']}",  # jobs run the `python` that the cluster finds
    }
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


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "given.yaml"
    path.write_text("word: grain\nexit_code: 0\n")
    return path


def run_python(cluster: Cluster, code: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run code as a user of the cluster, in a process of its own, since Ray reads the token once a process."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(cluster.token_file)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **token, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def submitted(
    cluster: Cluster,
    stage: str,
    jobs: Path,
    spec: Path,
    overrides: list[str],
    options: str = "",
    **variables: str,
) -> "subprocess.CompletedProcess[str]":
    code = (
        "import sys; from pathlib import Path; from thresher.runtime.submit import submit_stage; "
        f"sys.exit(submit_stage({stage!r}, {str(spec)!r}, {overrides!r}, {cluster.url!r}, "
        f"jobs_folder=Path({str(jobs)!r}), {options}))"
    )
    return run_python(cluster, code, **variables)


def test_a_job_runs_the_shipped_code_and_its_log_comes_back(cluster: Cluster, jobs: Path, spec: Path) -> None:
    done = submitted(
        cluster,
        "speak",
        jobs,
        spec,
        ["a=1", "b=two words"],
        "pass_env=['SUBMIT_TEST_REGION']",
        SUBMIT_TEST_REGION="north",
        SUBMIT_TEST_SECRET="hush",
    )
    assert done.returncode == 0, done.stderr
    assert "spec says grain and arguments ['--set', 'a=1', '--set', 'b=two words']" in done.stdout
    assert "region north secret None" in done.stdout
    assert "hush" not in done.stdout + done.stderr
    [shipped] = re.findall("package from (.*)", done.stdout)
    assert "working_dir" in shipped
    assert not Path(shipped).is_relative_to(BIN.parent.parent)


def test_the_exit_code_of_a_failing_job_comes_back_with_its_log(
    cluster: Cluster, jobs: Path, spec: Path
) -> None:
    spec.write_text("word: chaff\nexit_code: 7\n")
    done = submitted(cluster, "speak", jobs, spec, [])
    assert done.returncode == 7, done.stderr
    assert "spec says chaff" in done.stdout


def test_a_job_that_is_not_followed_is_only_submitted(cluster: Cluster, jobs: Path, spec: Path) -> None:
    done = submitted(cluster, "speak", jobs, spec, [], "follow=False")
    assert done.returncode == 0, done.stderr
    assert "spec says" not in done.stdout
    assert "submitted raysubmit_" in done.stderr


def test_the_corpus_stage_runs_on_the_cluster(
    cluster: Cluster, tokenizer_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    for index in range(40):
        (tmp_path / "text" / f"{index}.txt").write_text(f"the {index}th grain of the harvest " * 5)
    spec, root = tmp_path / "corpus.yaml", (tmp_path / "root").as_uri()
    spec.write_text(
        f"root: {root}\ntokenizer: {tokenizer_folder}\nsequence_length: 16\n"
        f"sources: [{{kind: text_files, folder: {tmp_path / 'text'}}}]\n"
    )
    done = submitted(cluster, "corpus", JOBS, spec, ["max_tokens=800"])
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = open_sequences(open_store(root), done.stdout.split()[-1]).manifest
    assert manifest.num_tokens <= 800
    refused = submitted(cluster, "corpus", JOBS, spec, ["max_tokens=none"])
    assert refused.returncode == 2
    assert "max_tokens" in refused.stdout


def test_a_night_runs_on_the_cluster_with_its_workers(
    cluster: Cluster, planted_dictionary: ObjectStore, nightly_spec, scripted_llm, tmp_path: Path
) -> None:
    spec, catalog = tmp_path / "nightly.yaml", f"sqlite:///{tmp_path}/catalog.db"
    spec.write_text(nightly_spec().model_dump_json())
    submit = partial(
        submitted,
        cluster,
        "nightly",
        JOBS,
        spec,
        options="pass_env=['THRESHER_CATALOG']",
        THRESHER_CATALOG=catalog,
    )
    done = submit(["label.workers=2"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# Night " in done.stdout
    assert "- ok: 4" in done.stdout
    night = the_night(planted_dictionary, done.stdout.split()[-1])
    assert night.states == {"ok": 4}
    assert ended_actors(cluster).count("LabelWorker") == 2
    with closing(open_catalog(catalog)) as opened:
        [dictionary] = list_dictionaries(opened)
    assert dictionary.num_labelled == 4
    num_requests = len(scripted_llm.requests)
    again = submit([])
    assert again.returncode == 0, again.stdout + again.stderr
    assert the_night(planted_dictionary, again.stdout.split()[-1]).batches == []
    assert len(scripted_llm.requests) == num_requests, "nothing is asked where nothing needs work"


def the_night(store: ObjectStore, night_id: str) -> NightlyManifest:
    return read_record(store, paths.manifest(paths.nightly(night_id)), NightlyManifest)


def ended_actors(cluster: Cluster) -> list[str]:
    """Classes of the actors that the cluster knows to have ended."""
    code = (
        "from ray.util.state import list_actors\n"
        f"found = list_actors({cluster.url!r}, filters=[('state', '=', 'DEAD')])\n"
        "print(*(actor.class_name for actor in found))"
    )
    return run_python(cluster, code).stdout.split()


def test_a_wrong_token_is_refused_in_words(cluster: Cluster, jobs: Path, spec: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-token"
    other.write_text("0" * 64)
    done = submitted(cluster, "speak", jobs, spec, [], RAY_AUTH_TOKEN_PATH=str(other))
    assert done.returncode != 0
    assert "refused this user: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH" in done.stderr


def test_a_process_joins_the_cluster_and_leaves_it_running(cluster: Cluster) -> None:
    code = (
        "import os, ray; from thresher.runtime.ray_cluster import connect, disconnect; connect(); connect()\n"
        "names = ['THRESHER_CACHE', 'AWS_SECRET_ACCESS_KEY']\n"
        "print(ray.get(ray.remote(lambda: [os.environ.get(name) for name in names]).remote())); disconnect()\n"
        "print(ray.is_initialized())"
    )
    settings = {"RAY_ADDRESS": cluster.address, "THRESHER_CACHE": "/there", "AWS_SECRET_ACCESS_KEY": "hush"}
    done = run_python(cluster, code, **settings)
    environment_of_worker, is_connected = done.stdout.splitlines()[-2:]
    assert environment_of_worker.startswith("['/there', "), done.stderr
    assert "hush" not in environment_of_worker
    assert is_connected == "False"
    assert answers(cluster.url, cluster.token_file.read_text())
