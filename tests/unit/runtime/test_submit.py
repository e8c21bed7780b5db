"""What is refused before a job is submitted, and how soon."""

import socket
import time
from pathlib import Path

import pytest

from thresher.contracts.errors import ClusterError, SpecError
from thresher.runtime import submit
from thresher.runtime.submit import submit_stage

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "corpus.py").write_text("")
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "spec.yaml").write_text("{}")
    return str(tmp_path / "spec.yaml")


def test_what_is_not_there_is_named(jobs: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with pytest.raises(SpecError, match=r"stage: cannot use 'corpse'. Allowed: corpus"):
        submit_stage("corpse", spec, [], NOBODY, jobs_folder=jobs)
    with pytest.raises(SpecError, match=r"spec: .*nowhere\.yaml"):
        submit_stage("corpus", "nowhere.yaml", [], NOBODY, jobs_folder=jobs)
    with pytest.raises(SpecError, match=r"--pass-env: .*UNSET_VARIABLE"):
        submit_stage("corpus", spec, [], NOBODY, jobs_folder=jobs, pass_env=["UNSET_VARIABLE"])
    for address in (None, "127.0.0.1:6379", "ray://127.0.0.1:10001"):
        with pytest.raises(SpecError, match=r"address: .*http://HOST:8265"):
            submit_stage("corpus", spec, [], address, jobs_folder=jobs)


def test_the_address_may_come_from_the_environment(
    jobs: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", NOBODY)
    with pytest.raises(ClusterError, match=NOBODY):
        submit_stage("corpus", spec, [], None, jobs_folder=jobs)


def test_a_host_that_accepts_and_is_silent_is_given_up_soon(
    jobs: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "REACH_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_s = time.monotonic()
        with pytest.raises(ClusterError, match="No Ray cluster answers"):
            submit_stage("corpus", spec, [], f"http://127.0.0.1:{silent.getsockname()[1]}", jobs_folder=jobs)
    assert time.monotonic() - started_s < 5
