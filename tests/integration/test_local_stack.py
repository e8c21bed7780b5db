"""The local stack with its real servers: what it keeps, what it hides, and that it always ends."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from thresher.contracts.errors import SpecError
from thresher.runtime.local.llm_server import LLMServer, launch_llm_server
from thresher.runtime.local.processes import LocalProcess, LocalProcessError, free_port, read_stat
from thresher.runtime.local.seaweedfs import start_seaweedfs
from thresher.runtime.local.stack import ROOT, LocalStack, StackPlan, down, read_state, status, up
from thresher.storage import open_store

pytestmark = pytest.mark.real

ATTACHED = """
import sys, time
from pathlib import Path
from thresher.runtime.local import stack
with stack.LocalStack(stack.StackPlan(Path(sys.argv[1]))) as running:
    print("up", flush=True)
    time.sleep(600)
"""
DETACHED = """
import sys
from pathlib import Path
from thresher.runtime.local import stack
stack.up(stack.StackPlan(Path(sys.argv[1])))
"""


def use(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def running_under(folder: Path) -> list[int]:
    """Every process that works in the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            working_folder = (entry / "cwd").readlink()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        process = read_stat(int(entry.name))
        if working_folder.is_relative_to(folder) and process and process.is_alive:
            found.append(int(entry.name))
    return found


def wait_until_ended(folder: Path, timeout_s: float = 15) -> None:
    wait_until(lambda: running_under(folder) == [], timeout_s)


def wait_until(holds: Callable[[], bool], timeout_s: float = 15) -> None:
    """A process that was killed loses its working folder before its last thread has ended, so neither tells of both."""
    deadline_s = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert holds()


def test_what_a_stack_stored_is_there_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalStack(StackPlan(tmp_path)) as stack:
        first = stack.environment
        use(monkeypatch, first)
        open_store(ROOT).put("a/b", b"kept", if_absent=True)
        assert running_under(tmp_path)
    assert running_under(tmp_path) == []
    with LocalStack(StackPlan(tmp_path)) as stack:
        assert stack.environment == first
        assert open_store(ROOT).get("a/b") == b"kept"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_attached_stack_ends_with_its_starter(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ATTACHED, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        try:
            assert starter.stdout is not None
            assert starter.stdout.readline() == "up\n"
            assert running_under(tmp_path)
            starter.send_signal(number)
            starter.wait(timeout=20)
        finally:
            starter.kill()
    assert starter.returncode != 0
    wait_until_ended(tmp_path)


def test_a_detached_stack_lasts_until_it_is_taken_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(tmp_path) == {}
    subprocess.run([sys.executable, "-c", DETACHED, str(tmp_path)], check=True)
    try:
        assert status(tmp_path) == {"SeaweedFS": True}
        use(monkeypatch, read_state(tmp_path).environment)
        open_store(ROOT).put("key", b"x")
        with pytest.raises(LocalProcessError, match=r"runs in .* already"):
            up(StackPlan(tmp_path))
        assert open_store(ROOT).get("key") == b"x"
    finally:
        stopped = down(tmp_path)
    assert stopped == ["SeaweedFS"]
    assert status(tmp_path) == {}
    assert running_under(tmp_path) == []
    assert down(tmp_path) == []


def test_a_dead_detached_stack_can_be_started_again(tmp_path: Path) -> None:
    up(StackPlan(tmp_path))
    (record,) = read_state(tmp_path).servers
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: status(tmp_path) == {"SeaweedFS": False})

    try:
        up(StackPlan(tmp_path))
        assert status(tmp_path) == {"SeaweedFS": True}
    finally:
        down(tmp_path)


def test_a_port_in_use_leaves_nothing_behind(tmp_path: Path) -> None:
    with LocalStack(StackPlan(tmp_path / "first", s3_port=(port := free_port()))) as stack:
        assert stack.environment["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{port}"
        with pytest.raises(SpecError, match=f"port: cannot use {port}"):
            up(StackPlan(tmp_path / "second", s3_port=port))
        assert status(tmp_path / "second") == {}
        assert running_under(tmp_path / "second") == []


def test_one_folder_has_one_server(tmp_path: Path) -> None:
    with (
        LocalStack(StackPlan(tmp_path)),
        pytest.raises(LocalProcessError, match=r"runs over .* already"),
        LocalStack(StackPlan(tmp_path)),
    ):
        pass
    assert running_under(tmp_path) == []


def test_a_server_that_fails_takes_the_others_down(tmp_path: Path, bundled_model: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "no-such-model"}')

    with pytest.raises(LocalProcessError, match="vLLM serving local ended while it started"):
        up(StackPlan(tmp_path, model_folder=model))
    assert status(tmp_path) == {}
    assert running_under(tmp_path) == []


def test_a_killed_server_gives_its_folder_and_port_back_at_once(tmp_path: Path) -> None:
    ports = set()
    for _ in range(4):
        server = start_seaweedfs(tmp_path)
        ports.add(server.settings.s3_port)
        server.process.stop(grace_s=0)
    assert len(ports) == 1


def test_secrets_are_for_this_user_alone(tmp_path: Path) -> None:
    state = up(StackPlan(tmp_path))
    try:
        secret = state.environment["AWS_SECRET_ACCESS_KEY"]
        for path in (tmp_path / "stack.json", *tmp_path.glob("seaweedfs/*.json")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        (record,) = state.servers
        assert secret not in Path(f"/proc/{record.pid}/cmdline").read_text()
        assert secret not in record.log.read_text(errors="replace")
        assert secret not in repr(record)
    finally:
        down(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="model"):
        launch_llm_server(tmp_path, "none", tmp_path)


def test_the_model_server_scores_prompts_for_those_who_know_the_key(llm_server: LLMServer) -> None:
    url = llm_server.environment["OPENAI_BASE_URL"]
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="wrong").models.list()
    client = openai.OpenAI(base_url=url, api_key=llm_server.environment["OPENAI_API_KEY"])
    assert [model.id for model in client.models.list()] == [llm_server.served_name]

    answer = client.completions.create(
        model=llm_server.served_name,
        prompt="The capital of France is Paris",
        max_tokens=1,
        extra_body={"prompt_logprobs": 5},
    )
    by_position = (answer.choices[0].model_extra or {})["prompt_logprobs"]
    assert by_position[0] is None
    assert max(by_position[-1].values(), key=lambda entry: entry["logprob"])["decoded_token"] == " Paris"
    process = llm_server.process
    assert llm_server.api_key not in Path(f"/proc/{process.pid}/cmdline").read_text()
    assert llm_server.api_key not in process.log.read_text(errors="replace")


MODEL_STARTER = """
import os, sys, time
from pathlib import Path
from thresher.runtime.local.llm_server import launch_llm_server
server = launch_llm_server(Path(sys.argv[1]), "short-lived", Path(sys.argv[2]))
if sys.argv[3] == "ready":
    server.wait_until_ready()
else:
    while "EngineCore" not in server.process.log.read_text():
        time.sleep(0.1)
print(server.process.pid, server.process.start_ticks, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("phase", ["starting", "ready"])
def test_all_of_a_model_server_ends_with_its_killed_starter(
    bundled_model: Path, tmp_path: Path, phase: str
) -> None:
    command = [sys.executable, "-c", MODEL_STARTER, str(bundled_model), str(tmp_path), phase]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=400).stdout
    pid, start_ticks = map(int, output.split())
    try:
        wait_until_ended(tmp_path, timeout_s=30)
    finally:
        LocalProcess("vLLM", pid, start_ticks, tmp_path / "vllm.log").stop(grace_s=0)
