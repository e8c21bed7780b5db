"""SIGKILL in the middle of a harvest, then the same command again: the same manifest and bytes, no row lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fixtures.corpora import build_small_corpus
from thresher.contracts import paths
from thresher.contracts.manifests import HarvestManifest
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record

pytestmark = [pytest.mark.real, pytest.mark.fault]

LENGTH = 64
NUM_SHARDS = 24
TIMEOUT_S = 240


def _spec_file(folder: Path, root: str, model: Path) -> Path:
    corpus = build_small_corpus(root, model, max_tokens=8 * NUM_SHARDS * LENGTH)
    spec = {
        "root": root,
        "corpus": corpus.corpus_id,
        "model": str(model),
        "sites": ["resid_post.1", "mlp_out.2"],
        "splits": ["fit", "explain", "report"],
        "sequences_per_shard": 8,
        "engine": {"kv_cache_gib": 1},
    }
    file = folder / "harvest.yaml"
    file.write_text(yaml.safe_dump(spec))
    return file


def _start(spec: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("thresher")), "harvest", str(spec)],
        stdout=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    return output.split()[-1]


def _commits(store: ObjectStore) -> int:
    return sum("/commits/" in info.key for info in store.list("activations/"))


def _kill_when_committing(
    store: ObjectStore, process: subprocess.Popen[str], victim: Callable[[int], int]
) -> None:
    """SIGKILL once some shards are committed and most are not."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while _commits(store) < 2:
        assert process.poll() is None, "the harvest ended before it could be killed"
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    os.kill(victim(process.pid), signal.SIGKILL)
    assert _commits(store) < NUM_SHARDS, "the kill came too late to mean anything"


def _driver(pid: int) -> int:
    return pid


def _actor(pid: int) -> int:
    """The process of the harvest's actor: Ray names it so; it descends from the driver."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _descends(int(entry.name), pid) and b"HarvestActor" in _cmdline(entry):
            return int(entry.name)
    raise AssertionError("no actor process found")


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            return False
    return False


def _content(store: ObjectStore, harvest_id: str) -> dict[str, bytes]:
    """Every object of the harvest, but for the spec, which holds the root's url, and the figures of its runs."""
    artifact = paths.harvest(harvest_id)
    skipped = (paths.spec(artifact), paths.harvest_runs(artifact))
    return {
        info.key: store.get(info.key)
        for info in store.list(f"{artifact}/")
        if not info.key.startswith(skipped)
    }


@pytest.fixture(scope="module")
def undisturbed_spec(tiny_llama, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    return _spec_file(folder, f"file://{folder}/root", tiny_llama)


@pytest.fixture(scope="module")
def undisturbed(undisturbed_spec) -> tuple[str, dict[str, bytes]]:
    harvest_id = _finish(_start(undisturbed_spec))
    return harvest_id, _content(open_store(f"file://{undisturbed_spec.parent}/root"), harvest_id)


@pytest.mark.parametrize("victim", [_driver, _actor], ids=["driver", "actor"])
def test_killed_and_run_again_equals_undisturbed(victim, undisturbed, tiny_llama, tmp_path, s3_root):
    store = open_store(s3_root)
    spec = _spec_file(tmp_path, s3_root, tiny_llama)
    process = _start(spec)
    _kill_when_committing(store, process, victim)
    if victim is _driver:
        process.wait(timeout=TIMEOUT_S)
        assert store.head(paths.manifest(paths.harvest(undisturbed[0]))) is None, (
            "no manifest before every commit"
        )
        harvest_id = _finish(_start(spec))
    else:
        harvest_id = _finish(process)  # the driver starts another actor and goes on
    assert harvest_id == undisturbed[0]
    assert _content(store, harvest_id) == undisturbed[1]
    manifest = read_record(store, paths.manifest(paths.harvest(harvest_id)), HarvestManifest)
    assert [shard.index for shard in manifest.shards] == list(range(len(manifest.shards)))
    assert sum(shard.num_rows for shard in manifest.shards) == manifest.num_rows


def test_a_finished_harvest_is_found_without_an_engine(undisturbed, undisturbed_spec):
    start_s = time.monotonic()
    assert _finish(_start(undisturbed_spec)) == undisturbed[0]
    assert time.monotonic() - start_s < 15, "an engine takes longer than this to start"
