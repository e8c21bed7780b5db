"""Faults of an S3 server and of the way to it: mended if they pass, told plainly if not."""

import os
import uuid
from collections.abc import Callable, Iterator

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError

from fixtures.lossy_proxy import LossyProxy, lossy_proxy
from thresher.contracts.errors import SpecError, StoreError
from thresher.runtime.local.processes import free_port
from thresher.runtime.local.seaweedfs import BUCKET, SeaweedFS, start_seaweedfs
from thresher.storage import ObjectExistsError, ObjectStore, open_store
from thresher.storage.s3_client import make_client

pytestmark = pytest.mark.real
MIB = 1 << 20


def stream(store: ObjectStore, data: bytes) -> None:
    with store.open_write("key") as writer:
        writer.write(data)


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("key"),
    "head": lambda store: store.head("key"),
    "put": lambda store: store.put("key", b"x"),
    "list": lambda store: list(store.list("")),
    "delete": lambda store: store.delete("key"),
    "stream": lambda store: stream(store, bytes(40 * MIB)),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@pytest.fixture
def proxy(seaweedfs: SeaweedFS, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    """What the store's endpoint leads through."""
    with lossy_proxy(seaweedfs.settings.s3_port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@every_call
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_named_but_not_shown(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, call: Callable[[ObjectStore], object], variable: str
) -> None:
    monkeypatch.setenv(variable, "not-a-real-credential")

    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as caught:
        call(open_store(s3_root))
    message = str(caught.value)
    assert message.startswith(s3_root)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert os.environ[name] not in message


def test_absent_credentials_are_named(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    with pytest.raises(StoreError, match="no complete S3 credentials were found"):
        open_store(s3_root).get("key")


@every_call
def test_an_unreachable_endpoint_is_named(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, call: Callable[[ObjectStore], object]
) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")

    with pytest.raises(StoreError, match=rf"cannot reach 127\.0\.0\.1:{port}") as caught:
        call(open_store(s3_root))
    assert "secret" not in str(caught.value)


def test_an_endpoint_that_is_no_url_is_named(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "garbage")

    with pytest.raises(StoreError, match="garbage"):
        open_store(s3_root).get("key")


def test_a_wrong_number_of_attempts_is_named(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")

    with pytest.raises(SpecError, match="AWS_MAX_ATTEMPTS"):
        open_store(s3_root).get("key")


@pytest.mark.parametrize("name", ["get", "head", "put", "list", "stream"])
def test_a_missing_bucket_is_named(s3_root: str, name: str) -> None:
    with pytest.raises(StoreError, match="there is no such bucket"):
        CALLS[name](open_store(f"s3://absent-{uuid.uuid4().hex}/x"))


def test_a_winner_whose_answer_is_lost_knows_it(proxy: LossyProxy, s3_root: str) -> None:
    store = open_store(s3_root)
    proxy.lose_answer(b"PUT")

    info = store.put("key", b"mine", if_absent=True)

    assert proxy.num_faults == 1
    assert store.head("key") == info
    assert store.get("key") == b"mine"


def test_a_loser_whose_answer_is_lost_knows_it_too(proxy: LossyProxy, s3_root: str) -> None:
    store = open_store(s3_root)
    store.put("key", b"same", if_absent=True)
    proxy.lose_answer(b"PUT")

    with pytest.raises(ObjectExistsError):
        store.put("key", b"same", if_absent=True)
    assert proxy.num_faults == 1


def test_a_completion_whose_answer_is_lost_counts(proxy: LossyProxy, s3_root: str) -> None:
    store, data = open_store(s3_root), os.urandom(40 * MIB)
    proxy.lose_answer(b"POST", b"uploadId=")

    stream(store, data)

    assert proxy.num_faults == 1
    assert store.get("key") == data


def test_a_lost_part_is_sent_again(proxy: LossyProxy, s3_root: str) -> None:
    store, data = open_store(s3_root), os.urandom(40 * MIB)
    proxy.lose_answer(b"PUT", b"partNumber=2")

    stream(store, data)

    assert proxy.num_faults == 1
    assert store.get("key") == data


def test_a_body_cut_short_is_read_again(proxy: LossyProxy, s3_root: str) -> None:
    store, data = open_store(s3_root), os.urandom(4 * MIB)
    store.put("key", data)
    proxy.lose_answer(b"GET", pass_bytes=2 * MIB)

    assert store.get("key", 5) == data[5:]
    assert proxy.num_faults == 1


def test_a_failed_stream_leaves_no_unfinished_upload(s3_root: str) -> None:
    store, prefix = open_store(s3_root), s3_root.removeprefix(f"s3://{BUCKET}/")

    def unfinished() -> int:
        answer = boto3.client("s3").list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return len(answer.get("Uploads", []))

    def write_and_fail() -> None:
        with store.open_write("key") as writer:
            writer.write(bytes(40 * MIB))
            assert unfinished() == 1
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert unfinished() == 0


def test_a_server_that_restarts_is_waited_for(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path_factory.mktemp("restarted")
    server = start_seaweedfs(folder)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{BUCKET}/x")
    try:
        with store.open_write("key") as writer:
            writer.write(bytes(20 * MIB))
            server.process.stop(grace_s=0)
            server = start_seaweedfs(folder)
            writer.write(bytes(20 * MIB))
        assert len(store.get("key")) == 40 * MIB
    finally:
        server.stop()


def test_a_body_damaged_on_the_way_is_refused(s3_root: str) -> None:
    client = make_client()

    def damage(request: AWSPreparedRequest, **_: object) -> None:
        request.body = b"wrong"

    client.meta.events.register("before-send.s3.PutObject", damage)
    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Bucket=BUCKET, Key="damaged", Body=b"right")
