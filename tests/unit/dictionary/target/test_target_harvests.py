"""What the harvests of a target must have in common is asked of them before any work."""

from pathlib import Path

import pytest

from fixtures.remote_stores import RemoteStore
from fixtures.target_harvests import target_fit, write_target_harvest
from thresher.contracts.errors import MissingArtifactError, SpecError
from thresher.contracts.row_selection import RowSelection
from thresher.dictionary.target.harvests import TargetHarvests, check_target, read_harvests
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import record_bytes

AUTOENCODER = {"kind": "autoencoder", "site": "resid_post.1"}
CROSSCODER = {
    "kind": "crosscoder",
    "sites": [{"site": "resid_post.1"}, {"site": "resid_post.1", "harvest": "other"}],
}
MIXED = {"mixture": [{"harvest": "other", "weight": 0.5}]}


@pytest.fixture
def files(tmp_path: Path) -> ObjectStore:
    store = open_store((tmp_path / "store").as_uri())
    write_target_harvest(store)
    return store


def checked(store: ObjectStore, target: dict[str, object], **more: object) -> TargetHarvests:
    harvests = read_harvests(store, target_fit(store, target, **more))
    check_target(harvests, store)
    return harvests


def change(store: ObjectStore, harvest_id: str, **values: object) -> None:
    manifest = write_target_harvest(store, harvest_id, seed=1)
    store.put(f"activations/{harvest_id}/manifest.json", record_bytes(manifest.model_copy(update=values)))


@pytest.mark.parametrize(
    ("target", "d_in", "d_out"),
    [
        (AUTOENCODER, 16, 16),
        ({"kind": "transcoder", "input_site": "mlp_in.1", "output_site": "mlp_out.1"}, 16, 20),
        ({"kind": "crosscoder", "sites": [{"site": "mlp_in.1"}, {"site": "mlp_out.1"}]}, 36, 36),
        ({"kind": "layer_group", "sites": ["resid_post.1", "resid_post.2"]}, 16, 16),
    ],
)
def test_widths_of_every_target(files: ObjectStore, target: dict[str, object], d_in: int, d_out: int) -> None:
    harvests = checked(files, target)
    assert (harvests.d_in, harvests.d_out) == (d_in, d_out)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"kind": "autoencoder", "site": "resid_post.9"}, "resid_post.9"),
        ({"kind": "transcoder", "input_site": "mlp_in.1", "output_site": "attn_out.1"}, "attn_out.1"),
        ({"kind": "layer_group", "sites": ["resid_post.1", "mlp_out.1"]}, "crosscoder"),
    ],
)
def test_sites_are_there_and_fit(files: ObjectStore, target: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        checked(files, target)


def test_a_crosscoder_of_two_harvests_of_one_corpus(files: ObjectStore) -> None:
    write_target_harvest(files, "other", seed=1, sequences_per_shard=5)
    assert checked(files, CROSSCODER).d_in == 32


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"corpus_id": "another"}, "corpus"),
        ({"corpus_id": None}, "corpus"),
        ({"selection": RowSelection(min_position=3)}, "selection"),
        ({"sequence_length": 16}, "sequence length"),
    ],
)
def test_harvests_of_a_crosscoder_have_rows_of_the_same_places(
    files: ObjectStore, values: dict[str, object], said: str
) -> None:
    change(files, "other", **values)
    with pytest.raises(SpecError, match=said):
        checked(files, CROSSCODER)


def test_harvests_of_a_crosscoder_hold_the_same_sequences(files: ObjectStore) -> None:
    write_target_harvest(files, "other", splits={"fit": 90, "report": 30})
    with pytest.raises(SpecError, match="sequences of split fit"):
        checked(files, CROSSCODER)


def test_imported_rows_of_two_harvests_are_never_called_aligned(files: ObjectStore) -> None:
    for name in ("harvest", "other"):
        manifest = read_harvests(files, target_fit(files, AUTOENCODER)).by_id["harvest"]
        changed = manifest.model_copy(update={"harvest_id": name, "corpus_id": None})
        files.put(f"activations/{name}/manifest.json", record_bytes(changed))
    with pytest.raises(SpecError, match="imported rows"):
        checked(files, CROSSCODER)


def test_mixed_harvests(files: ObjectStore) -> None:
    with pytest.raises(MissingArtifactError, match="other"):
        checked(files, AUTOENCODER, **MIXED)
    write_target_harvest(files, "other", seed=1)
    assert checked(files, AUTOENCODER, **MIXED).weights == [1.0, 0.5]
    with pytest.raises(SpecError, match="each harvest once"):
        checked(files, AUTOENCODER, mixture=[{"harvest": "harvest", "weight": 1}])
    with pytest.raises(SpecError, match="one to one"):
        checked(files, CROSSCODER, **MIXED)


def test_mixed_harvests_are_of_one_width(files: ObjectStore) -> None:
    manifest = write_target_harvest(files, "other", seed=1)
    sites = dict(manifest.sites)
    sites["resid_post.1"] = sites["resid_post.1"].model_copy(update={"width": 17})
    change_sites = manifest.model_copy(update={"sites": sites})
    files.put("activations/other/manifest.json", record_bytes(change_sites))
    with pytest.raises(SpecError, match="17 wide"):
        checked(files, AUTOENCODER, **MIXED)


def test_a_harvest_larger_than_the_cache_asks_for_blocks_and_their_memory(files: ObjectStore) -> None:
    remote = RemoteStore(files)
    tiny = {"cache_gib": 1e-6}
    checked(files, AUTOENCODER, **tiny)  # of a local store nothing is cached
    with pytest.raises(SpecError, match="kind: blocks"):
        checked(remote, AUTOENCODER, **tiny)
    blocks = {"training": {"shuffle": {"kind": "blocks", "block_rows": 64, "window_blocks": 8}}}
    assert checked(remote, AUTOENCODER, **tiny, **blocks).is_ranged(remote)
    with pytest.raises(SpecError, match="memory_gib"):
        checked(remote, AUTOENCODER, **tiny, **blocks, memory_gib=1e-6)
    assert not checked(remote, AUTOENCODER, **blocks).is_ranged(remote)


def test_a_window_holds_a_batch(files: ObjectStore) -> None:
    blocks = {"shuffle": {"kind": "blocks", "block_rows": 8, "window_blocks": 2}}
    with pytest.raises(SpecError, match="window_blocks"):
        checked(files, AUTOENCODER, training=blocks)
