"""Parts of several ranks make one commit, or none."""

import pytest

from thresher.contracts.manifests import EngineProvenance, FileEntry, SiteFile
from thresher.harvest.assembler import CoverageError
from thresher.harvest.commit import commit_shard
from thresher.harvest.plan import ShardPart, ShardPlan
from thresher.storage import open_store
from thresher.storage.artifacts import put_hashed_file

PLAN = ShardPlan(artifact="activations/h", index=3, first_sequence=12, num_sequences=4, sequence_length=8)
PROVENANCE = EngineProvenance(
    engine="test", engine_version="0", model_runner="V2", dtype="bfloat16", torch_version="0"
)


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}")


def _file(store, site: str, data: bytes = b"rows") -> SiteFile:
    entry = put_hashed_file(store, f"activations/h/{site}/shard-000003", ".arrow", data)
    return SiteFile(**entry.model_dump(), relative_error=0.0)


def _part(store, *sites: str, num_rows: int | None = 32, rows: bool = False) -> ShardPart:
    table: FileEntry | None = None
    if rows:
        table = put_hashed_file(store, "activations/h/rows/shard-000003", ".parquet", b"addresses")
    return ShardPart(
        index=3, num_rows=num_rows, sites={site: _file(store, site) for site in sites}, rows=table
    )


def test_stages_of_a_pipeline_give_their_sites_and_one_the_addresses(store):
    parts = [
        _part(store, "resid_post.1", rows=True),
        _part(store, num_rows=None),
        _part(store, "resid_post.40", "mlp_out.41"),
    ]
    sites = ["resid_post.1", "resid_post.40", "mlp_out.41"]
    commit = commit_shard(store, PLAN, parts, sites, PROVENANCE)
    assert set(commit.sites) == set(sites)
    assert (commit.index, commit.num_rows) == (3, 32)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([(["resid_post.1"], 32, True)], "ranks wrote"),
        ([(["resid_post.1", "mlp_out.2"], 32, True), (["mlp_out.2"], 32, False)], "ranks wrote"),
        ([(["resid_post.1"], 32, True), (["mlp_out.2"], 31, False)], "not one"),
        ([(["resid_post.1"], 32, True), (["mlp_out.2"], 32, True)], "not one"),
        ([(["resid_post.1"], 32, False), (["mlp_out.2"], 32, False)], "not one"),
    ],
    ids=["a site is missing", "a site twice", "unlike rows", "addresses twice", "no addresses"],
)
def test_parts_that_make_no_whole_shard_are_not_committed(store, parts, words):
    made = [_part(store, *sites, num_rows=num_rows, rows=rows) for sites, num_rows, rows in parts]
    with pytest.raises(CoverageError, match=words):
        commit_shard(store, PLAN, made, ["resid_post.1", "mlp_out.2"], PROVENANCE)
    assert not list(store.list("activations/h/commits/"))


def test_the_first_commit_holds_and_the_other_writers_bytes_stay_apart(store):
    first = ShardPart(
        index=3, num_rows=32, sites={"s.0": _file(store, "s.0", b"one")}, rows=_part(store, rows=True).rows
    )
    second = first.model_copy(update={"sites": {"s.0": _file(store, "s.0", b"other")}})
    won = commit_shard(store, PLAN, [first], ["s.0"], PROVENANCE)
    lost = commit_shard(store, PLAN, [second], ["s.0"], PROVENANCE)
    assert won == lost
    assert store.get(lost.sites["s.0"].key) == b"one"
