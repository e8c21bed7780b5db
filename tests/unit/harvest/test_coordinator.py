"""The real coordinator, pool, writer and store; actors are threads and the engine sleeps (see simulated_engine)."""

import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from fixtures.simulated_engine import (
    SimulatedEngine,
    ThreadActor,
    simulated_corpus,
    simulated_model,
    thread_start_actor,
)
from fixtures.simulation import Simulation
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, StoreError
from thresher.contracts.manifests import HarvestManifest, ShardCommit
from thresher.harvest import coordinator
from thresher.harvest.calibration import calibrate
from thresher.harvest.coordinator import harvest
from thresher.harvest.dry_run import dry_run
from thresher.harvest.failures import HarvestError
from thresher.harvest.inputs import resolve_inputs
from thresher.harvest.run_record import RunRecord
from thresher.harvest.scheduler import ActorStartError
from thresher.harvest.spec import HarvestSpec
from thresher.release.verify import verify
from thresher.storage import open_store
from thresher.storage.artifacts import read_record

LENGTH, WIDTH, PER_SHARD, NUM_SHARDS = 16, 16, 4, 12


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with a corpus, to be copied, and a model."""
    folder = tmp_path_factory.mktemp("simulated")
    model = simulated_model(folder / "model", WIDTH)
    corpus = simulated_corpus(
        (folder / "root").as_uri(), model, folder / "text", PER_SHARD * NUM_SHARDS, LENGTH
    )
    return folder, model, corpus.corpus_id


@pytest.fixture
def spec(inputs, tmp_path):
    source, model, corpus_id = inputs
    root = (tmp_path / "root").as_uri()
    for info in open_store((source / "root").as_uri()).list("corpora/"):
        open_store(root).put(info.key, open_store((source / "root").as_uri()).get(info.key))

    def make(**more):
        base = {
            "root": root,
            "corpus": corpus_id,
            "model": str(model),
            "sites": ["resid_post.1", "mlp_out.2"],
            "splits": ["fit"],
            "sequences_per_shard": PER_SHARD,
        }
        return HarvestSpec.parse(base | {"actors": {"count": 2, **more}})

    return make


def artifact_of(spec):
    return paths.harvest(resolve_inputs(spec).harvest_id)


def run_records(spec):
    store = open_store(spec.root)
    keys = [info.key for info in store.list(f"{paths.harvest_runs(artifact_of(spec))}/")]
    return [read_record(store, key, RunRecord) for key in keys]


def content(spec):
    """Every object of the artifact, but for the figures of its runs."""
    store, artifact = open_store(spec.root), artifact_of(spec)
    return {info.key: store.get(info.key) for info in store.list(f"{artifact}/") if "/runs/" not in info.key}


def quick(**more):
    return thread_start_actor(Simulation(width=WIDTH, **more))


def test_a_harvest_is_whole_and_its_run_is_on_record(spec):
    manifest = harvest(spec(), quick())
    assert [shard.index for shard in manifest.shards] == list(range(NUM_SHARDS))
    assert manifest.num_rows == NUM_SHARDS * PER_SHARD * LENGTH
    [record] = run_records(spec())
    files = [entry for shard in manifest.shards for entry in [*shard.sites.values(), shard.rows]]
    assert (record.outcome, record.num_shards, record.failures) == ("complete", NUM_SHARDS, 0)
    assert record.num_tokens == record.num_rows == manifest.num_rows
    assert record.bytes == sum(entry.size for entry in files)
    assert record.tokens_per_s == pytest.approx(record.num_tokens / record.elapsed_s)
    assert record.num_actors == len(record.actors) == 2
    assert sum(actor.num_shards for actor in record.actors) == NUM_SHARDS
    assert verify(open_store(spec().root), artifact_of(spec())) == []


def test_poison_ranges_are_set_aside_named_and_the_rest_is_committed(spec):
    poison = frozenset({5, 30})
    with pytest.raises(HarvestError) as caught:
        harvest(spec(), quick(poison=poison))
    for words in (
        "2 of 12",
        "shard 1 (sequences 4 to 7) failed 3 times",
        "shard 7 (sequences 28 to 31)",
        "other 10",
    ):
        assert words in str(caught.value)
    [record] = run_records(spec())
    assert (record.outcome, record.num_shards) == ("HarvestError", 10)
    assert sorted(record.poison_shards) == [1, 7]
    mended = harvest(spec(), quick())
    assert len(mended.shards) == NUM_SHARDS
    second = next(record for record in run_records(spec()) if record.outcome == "complete")
    assert (second.num_shards, second.num_found_shards) == (2, 10), "only what was missing was made"


def test_more_poison_than_is_borne_stops_early(spec):
    with pytest.raises(HarvestError, match="max_failed_shards"):
        harvest(spec(max_failed_shards=1, max_attempts=1), quick(poison=frozenset(range(48))))
    [record] = run_records(spec())
    assert record.failures < NUM_SHARDS


def test_an_engine_that_never_stands_speaks_for_itself_and_no_shard_is_blamed(spec):
    with pytest.raises(ActorStartError, match="KV cache of 7 GiB") as caught:
        harvest(spec(count=1), quick(start_fault="no room for a KV cache of 7 GiB"))
    assert "Shard " not in str(caught.value)
    [record] = run_records(spec())
    assert (record.outcome, record.num_actors, record.num_shards) == ("ActorStartError", 3, 0)
    assert all(actor.start_s is None for actor in record.actors)


def test_a_drained_actor_is_replaced_and_nothing_is_doubled(spec, caplog):
    started = []

    def start(given, length):
        actor = ThreadActor(Simulation(width=WIDTH, step_s=0.02), given, length)
        started.append(actor)
        if len(started) == 1:
            threading.Timer(0.15, actor.drain).start()
        return actor

    harvest(spec(count=1), start)
    [record] = run_records(spec())
    assert len(started) == 2
    assert all(actor.ended for actor in started)
    assert record.failures == 0
    assert [actor.num_shards > 0 for actor in record.actors] == [True, True]
    assert sum(actor.num_shards for actor in record.actors) == NUM_SHARDS
    assert "told to go" in caplog.text


def test_two_coordinators_of_one_spec_end_with_one_manifest(spec):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: harvest(spec(), quick(step_s=0.01)), range(2))
    assert first == second
    assert len(first.shards) == NUM_SHARDS
    assert verify(open_store(spec().root), artifact_of(spec())) == []


def test_a_manifest_that_another_coordinator_made_meanwhile_is_returned(spec, monkeypatch, caplog):
    real = coordinator.build_manifest

    def late(inputs, commits):
        manifest = real(inputs, commits)
        other = manifest.model_copy(update={"code_version": "another"})
        coordinator.create_record(inputs.store, paths.manifest(artifact_of(spec())), other)
        return manifest

    monkeypatch.setattr(coordinator, "build_manifest", late)
    assert harvest(spec(), quick()).code_version == "another"
    assert "its manifest holds" in caplog.text


def _interrupt_after(count):
    """An actor factory whose engines interrupt the coordinator once they committed some shards."""
    import _thread

    done, told = [], threading.Lock()

    class Interrupting(ThreadActor):
        def _harvest(self, plans):
            if len(done) >= count and told.acquire(blocking=False):  # once, whichever thread comes first
                _thread.interrupt_main()
                threading.Event().wait(0.3)
            result = super()._harvest(plans)
            done.extend(plans)
            return result

    return lambda given, length: Interrupting(Simulation(width=WIDTH), given, length)


@pytest.fixture
def interruptible():
    """Programs that a shell starts in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupted_it_keeps_what_is_committed_and_says_how_to_go_on(spec, caplog, interruptible):
    with pytest.raises(KeyboardInterrupt):
        harvest(spec(count=1), _interrupt_after(5))
    assert "Run the same command to go on" in caplog.text
    [record] = run_records(spec())
    assert record.outcome == "KeyboardInterrupt"
    assert 0 < record.num_shards < NUM_SHARDS
    assert len(harvest(spec(), quick()).shards) == NUM_SHARDS


def _committed_but_no_manifest(spec):
    manifest = harvest(spec, quick())
    open_store(spec.root).delete(paths.manifest(artifact_of(spec)))
    return manifest


@pytest.mark.parametrize("damage", ["deleted", "truncated", "record truncated"])
def test_a_committed_shard_that_somebody_damaged_is_named_and_made_anew(spec, caplog, damage):
    whole = content(spec()) if harvest(spec(), quick()) else {}
    manifest = _committed_but_no_manifest(spec())
    store, shard = open_store(spec().root), manifest.shards[3]
    key = shard.sites["mlp_out.2"].key
    if damage == "deleted":
        store.delete(key)
    elif damage == "truncated":
        store.put(key, store.get(key)[:-10])
    else:
        key = paths.shard_commit(artifact_of(spec()), 3)
        store.put(key, store.get(key)[:-10])
    assert harvest(spec(), quick()) == manifest
    assert content(spec()) == whole
    assert "Shard 3 was committed and then damaged" in caplog.text
    assert key in caplog.text


def test_an_object_that_is_lost_while_the_harvest_runs_is_named(spec, monkeypatch):
    def losing(*arguments):
        inputs, commits = arguments
        inputs.store.delete(commits[2].rows.key)
        return build(*arguments)

    build = coordinator.build_manifest
    monkeypatch.setattr(coordinator, "build_manifest", losing)
    with pytest.raises(
        IntegrityError, match=r"shard 2 .*rows/shard-000002-.* is missing.*[Rr]un the same spec again"
    ):
        harvest(spec(), quick())
    monkeypatch.setattr(coordinator, "build_manifest", build)
    assert verify(open_store(spec().root), artifact_of(spec())) == [] if harvest(spec(), quick()) else False


def test_bytes_that_a_stranger_changed_are_found_by_verify(spec):
    manifest = harvest(spec(), quick())
    store, key = open_store(spec().root), manifest.shards[1].sites["resid_post.1"].key
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))
    [fault] = verify(store, artifact_of(spec()))
    assert fault.startswith(f"{key}: sha256")


@contextmanager
def largest_file(num_bytes):
    """Let this process write no file longer than this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_ends_the_harvest_by_name_and_with_room_it_goes_on(spec):
    with largest_file(2000), pytest.raises(StoreError, match="the disk is full"):
        harvest(spec(), quick())
    [record] = run_records(spec())
    assert (record.outcome, record.poison_shards) == ("StoreError", [])
    assert len(harvest(spec(), quick()).shards) == NUM_SHARDS
    assert verify(open_store(spec().root), artifact_of(spec())) == []


def calibrated(inputs):
    return calibrate(
        inputs.spec,
        0,
        NUM_SHARDS * PER_SHARD,
        lambda spec, length: SimulatedEngine(Simulation(width=WIDTH), spec, length),
    )


def test_a_dry_run_says_what_comes_and_leaves_nothing(spec):
    given = spec(price_per_hour=3.0)
    before = [info.key for info in open_store(given.root).list("")]
    lines = dry_run(given, calibrated)
    assert [info.key for info in open_store(given.root).list("")] == before
    table = {line[:28].strip(): line[28:].strip() for line in lines}
    assert table["rows"] == f"{NUM_SHARDS * PER_SHARD * LENGTH:,}"
    assert table["shards to make"] == "12 of 12"
    assert "cost of actors" in table
    manifest = harvest(given, quick())
    real = sum(shard.sites["resid_post.1"].size for shard in manifest.shards)
    told = float(table["bytes resid_post.1"].removesuffix(" MiB")) * (1 << 20)
    assert told == pytest.approx(real, rel=0.5), "files of a few rows are mostly header"
    assert "complete" in dry_run(given, calibrated)[-1]


def test_a_dry_run_counts_only_what_is_left(spec):
    with pytest.raises(HarvestError):
        harvest(spec(), quick(poison=frozenset({5})))
    assert any("1 of 12" in line for line in dry_run(spec(), calibrated))


def test_manifests_read_back_as_they_were_made(spec):
    manifest = harvest(spec(), quick())
    key = paths.manifest(artifact_of(spec()))
    assert read_record(open_store(spec().root), key, HarvestManifest) == manifest
    commit = read_record(open_store(spec().root), paths.shard_commit(artifact_of(spec()), 0), ShardCommit)
    assert commit == manifest.shards[0]
