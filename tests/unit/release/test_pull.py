"""Pull: whole and verified or not at all; what is there stays; nothing is written elsewhere."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from safetensors.numpy import load_file

from fixtures.releases import D_IN, NUM_LATENTS, publish_spec, write_artifacts, write_label_run
from thresher.contracts.errors import (
    AlreadyExistsError,
    IntegrityError,
    MissingArtifactError,
    SpecError,
    StoreError,
)
from thresher.contracts.manifests import ReleaseManifest
from thresher.release import pull as pulling
from thresher.release.folder import verify_folder
from thresher.release.publish import publish
from thresher.release.pull import pull
from thresher.storage import open_store

NAME = "tiny-labelled"
KEY = f"releases/{NAME}/1/manifest.json"


@pytest.fixture
def root(tmp_path):
    return f"file://{tmp_path}/root"


@pytest.fixture
def folder_store(root):
    return open_store(root)


@pytest.fixture
def made(folder_store):
    return write_artifacts(folder_store)


@pytest.fixture
def manifest(root, made) -> ReleaseManifest:
    return publish(publish_spec(root, made))


@pytest.fixture
def place(tmp_path):
    """An otherwise empty folder to pull into."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def listing(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tamper(folder_store, **changes) -> None:
    data = json.loads(folder_store.get(KEY))
    data["files"][0] |= changes
    folder_store.put(KEY, json.dumps(data).encode())


def test_a_pulled_folder_holds_what_was_published(root, folder_store, manifest, place):
    folder = pull(root, f"{NAME}@1", place / "pulled")
    files = {file.path: folder_store.get(file.key) for file in manifest.files}
    assert listing(folder) == files | {"manifest.json": folder_store.get(KEY)}
    assert verify_folder(folder) == []
    weights = load_file(folder / "sae_weights.safetensors")
    assert weights["W_dec"].shape == (NUM_LATENTS, D_IN)
    assert weights["W_dec"].dtype == np.float32
    assert [path.name for path in place.iterdir()] == ["pulled"]


def test_a_name_alone_is_its_highest_version(root, folder_store, made, place):
    for index in range(1, 12):
        run = write_label_run(folder_store, made.features, name=f"run-{index}")
        publish(publish_spec(root, made, label_run=run.run_id))
    assert json.loads((pull(root, NAME, place / "pulled") / "manifest.json").read_text())["version"] == "11"


def test_a_release_that_is_not_there_is_told_with_those_that_are(root, manifest, place):
    with pytest.raises(MissingArtifactError, match=f"{NAME}@1"):
        pull(root, f"{NAME}@7", place / "pulled")
    with pytest.raises(MissingArtifactError, match=f"releases of: {NAME}"):
        pull(root, "other", place / "pulled")
    with pytest.raises(SpecError):
        pull(root, "../other@1", place / "pulled")


def test_labels_alone_then_the_rest(root, manifest, place):
    folder = pull(root, NAME, place / "pulled", groups=["labels"])
    assert sorted(listing(folder)) == ["labels.parquet", "manifest.json", "scores.parquet"]
    assert verify_folder(folder) == []
    kept = (folder / "labels.parquet").stat().st_mtime_ns
    pull(root, NAME, folder)
    assert len(listing(folder)) == len(manifest.files) + 1
    assert verify_folder(folder) == []
    assert (folder / "labels.parquet").stat().st_mtime_ns == kept


def test_patterns_choose_files(root, manifest, place):
    folder = pull(root, NAME, place / "pulled", allow_patterns=["exemplars/*0.parquet", "cfg.json"])
    assert sorted(listing(folder)) == ["cfg.json", "exemplars/part-000000.parquet", "manifest.json"]


@pytest.mark.parametrize("chosen", [{"groups": ["weights"]}, {"allow_patterns": ["*.pt"]}])
def test_choosing_nothing_is_refused_with_what_there_is(root, manifest, place, chosen):
    with pytest.raises(SpecError, match=r"labels|labels\.parquet"):
        pull(root, NAME, place / "pulled", **chosen)
    assert list(place.iterdir()) == []


def test_pulling_again_writes_nothing(root, manifest, place):
    folder = pull(root, NAME, place / "pulled")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    pull(root, NAME, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_changed_file_is_named_and_kept(root, manifest, place):
    folder = pull(root, NAME, place / "pulled")
    (folder / "labels.parquet").write_bytes(b"mine")
    with pytest.raises(IntegrityError, match=r"labels\.parquet: 4 bytes"):
        pull(root, NAME, folder)
    assert (folder / "labels.parquet").read_bytes() == b"mine"
    assert [fault.partition(":")[0] for fault in verify_folder(folder)] == ["labels.parquet"]
    (folder / "labels.parquet").unlink()
    pull(root, NAME, folder)
    assert verify_folder(folder) == []


def test_a_folder_with_something_else_is_left_alone(root, folder_store, made, manifest, place):
    (place / "notes.txt").write_text("mine")
    with pytest.raises(AlreadyExistsError, match="no pulled release"):
        pull(root, NAME, place)
    with pytest.raises(AlreadyExistsError, match="no pulled release"):
        pull(root, NAME, place / "notes.txt")
    folder = pull(root, f"{NAME}@1", place / "pulled")
    other = write_label_run(folder_store, made.features, name="other")
    publish(publish_spec(root, made, label_run=other.run_id))
    with pytest.raises(AlreadyExistsError, match=f"{NAME}@1, not {NAME}@2"):
        pull(root, NAME, folder)
    assert sorted(path.name for path in place.iterdir()) == ["notes.txt", "pulled"]


def test_a_damaged_object_leaves_nothing(root, folder_store, manifest, place):
    key = manifest.files[-1].key
    data = bytearray(folder_store.get(key))
    data[0] ^= 1
    folder_store.put(key, bytes(data))
    with pytest.raises(IntegrityError, match="damaged"):
        pull(root, NAME, place / "pulled")
    assert list(place.iterdir()) == []


def test_an_interrupted_pull_leaves_nothing_and_stops_the_others(root, manifest, place, monkeypatch):
    started = threading.Event()
    real = pulling.download

    def slow_download(store, entry, path, advance):
        started.set()
        real(store, entry, path, advance)

    def interrupt(tasks):
        started.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(pulling, "download", slow_download)
    monkeypatch.setattr(pulling, "as_completed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pull(root, NAME, place / "pulled")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "/etc/outside",
        "a/../../outside",
        "C:\\outside",
        "a\\..\\b",
        "manifest.json",
        "",
        ".",
        "a//b",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(root, folder_store, manifest, place, path):
    tamper(folder_store, path=path)
    with pytest.raises(IntegrityError, match="may not write"):
        pull(root, NAME, place / "pulled")
    assert list(place.iterdir()) == []


def test_two_files_of_one_path_are_refused(root, folder_store, manifest, place):
    tamper(folder_store, path="CFG.json")
    with pytest.raises(IntegrityError, match="may not write"):
        pull(root, NAME, place / "pulled")


def test_a_disk_too_small_is_told_before_anything_is_written(root, folder_store, manifest, place):
    tamper(folder_store, size=1 << 60)
    with pytest.raises(StoreError, match="make room"):
        pull(root, NAME, place / "pulled")
    assert list(place.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_fills_up_leaves_nothing(root, manifest, place, monkeypatch):
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setattr(pulling, "_check_space", lambda *_: None)
        with pytest.raises(StoreError, match="disk is full"):
            pull(root, NAME, place / "pulled")
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_processes_that_pull_into_one_folder_at_once_all_get_it(root, manifest, place):
    code = "import sys; from thresher.release.pull import pull; pull(*sys.argv[1:])"
    command = [sys.executable, "-c", code, root, NAME, str(place / "pulled")]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
    assert verify_folder(place / "pulled") == []
    assert [path.name for path in place.iterdir()] == ["pulled"]


def test_verify_folder_tells_what_is_no_release(place):
    with pytest.raises(MissingArtifactError, match="no pulled release"):
        verify_folder(place)
    (place / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        verify_folder(place)
