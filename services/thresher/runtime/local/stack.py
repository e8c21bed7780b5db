"""The local stack: an object store and a model server, for as long as a block lasts or until taken down."""

import fcntl
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Protocol, Self

from pydantic import BaseModel, ConfigDict

from thresher.runtime.local.llm_server import launch_llm_server
from thresher.runtime.local.private_file import write_private
from thresher.runtime.local.processes import LocalProcess, LocalProcessError
from thresher.runtime.local.seaweedfs import BUCKET, launch_seaweedfs

ROOT = f"s3://{BUCKET}"


class Server(Protocol):
    @property
    def process(self) -> LocalProcess: ...

    @property
    def environment(self) -> dict[str, str]: ...

    def wait_until_ready(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class StackPlan:
    """What to start. Data, settings and logs go under `folder` and are used again by the next run."""

    folder: Path
    object_store: bool = True
    s3_port: int | None = None
    model_folder: Path | None = None
    """The model to serve; None serves none."""
    served_name: str = "local"
    llm_port: int | None = None

    def launch(self, *, detached: bool) -> Iterator[Server]:
        """Start one server after another, without waiting for any."""
        if self.object_store:
            yield launch_seaweedfs(self.folder / "seaweedfs", s3_port=self.s3_port, detached=detached)
        if self.model_folder is not None:
            yield launch_llm_server(
                self.model_folder,
                self.served_name,
                self.folder / "vllm",
                port=self.llm_port,
                detached=detached,
            )


class LocalStack:
    """The servers of a plan for as long as the block lasts.

    They are stopped in reverse order when it ends: normally, by an exception, by Ctrl-C or by SIGTERM. If
    this process is killed outright they end by themselves. Enter it in the main thread.
    """

    def __init__(self, plan: StackPlan) -> None:
        self._plan = plan
        self._exit = ExitStack()
        self.environment: dict[str, str] = {}
        """What clients of the servers need, secrets included."""

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.enter_context(_sigterm_unwinds())
            servers: list[Server] = []
            for server in self._plan.launch(detached=False):
                started.callback(server.stop)
                servers.append(server)
                self.environment |= server.environment
            for server in servers:
                server.wait_until_ready()
            self._exit = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()


class ServerRecord(BaseModel):
    """A detached server, as a later command finds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    pid: int
    start_ticks: int
    log: Path

    def process(self) -> LocalProcess:
        return LocalProcess(self.name, self.pid, self.start_ticks, self.log)


class StackState(BaseModel):
    """A detached stack. `environment` holds secrets: the file is readable by this user alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    servers: list[ServerRecord] = []
    environment: dict[str, str] = {}


def up(plan: StackPlan) -> StackState:
    """Start the servers of a plan so that they outlive this process, and wait until they are ready.

    Raises:
        SpecError: a wanted port is in use, or there is no model in the folder.
        LocalProcessError: a stack runs in the folder already, or a server did not start (then none is left).
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _stack_lock(plan.folder):
        if any(record.process().is_running() for record in read_state(plan.folder).servers):
            raise LocalProcessError(
                f"A local stack runs in {plan.folder} already: use it, or take it down first."
            )
        try:
            return _launch_recorded(plan)
        except BaseException:
            _stop_recorded(plan.folder)
            raise


def down(folder: Path) -> list[str]:
    """Stop the detached stack of a folder, if there is one. Its data stay. Returns the names of what ran."""
    if not _state_file(folder).exists():
        return []
    with _stack_lock(folder):
        return _stop_recorded(folder)


def status(folder: Path) -> dict[str, bool]:
    """Whether each server of the detached stack of a folder runs, by its name; empty if there is no stack."""
    return {record.name: record.process().is_running() for record in read_state(folder).servers}


def read_state(folder: Path) -> StackState:
    """The detached stack of a folder; an empty one if there is none."""
    file = _state_file(folder)
    return StackState.model_validate_json(file.read_text()) if file.exists() else StackState()


def _launch_recorded(plan: StackPlan) -> StackState:
    """Each server is recorded before it is waited for, so that `down` finds it if this process is killed."""
    state, servers = StackState(), []
    for server in plan.launch(detached=True):
        process = server.process
        record = ServerRecord(
            name=process.name, pid=process.pid, start_ticks=process.start_ticks, log=process.log
        )
        state = StackState(
            servers=[*state.servers, record], environment={**state.environment, **server.environment}
        )
        write_private(_state_file(plan.folder), state.model_dump_json(indent=1))
        servers.append(server)
    for server in servers:
        server.wait_until_ready()
    return state


def _stop_recorded(folder: Path) -> list[str]:
    stopped = []
    for record in reversed(read_state(folder).servers):
        process = record.process()
        if process.is_running():
            stopped.append(record.name)
        process.stop()
    _state_file(folder).unlink(missing_ok=True)
    return stopped


def _state_file(folder: Path) -> Path:
    return folder / "stack.json"


@contextmanager
def _stack_lock(folder: Path) -> Iterator[None]:
    with (folder / ".stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalProcessError(
                f"Another command starts or stops the stack in {folder}: wait for it."
            ) from error
        yield


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Let SIGTERM end the program as an exception does, so that blocks are left in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit_on_signal(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
