"""Rows side by side, from one site to another, pooled and mixed are the rows of the sites they are made of."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.harvests import write_harvest
from thresher.activations.dense_reader import DenseSite
from thresher.activations.row_source import AlignedRows, SiteColumns, StackedRows, gather_pairs
from thresher.activations.split_rows import SplitRows
from thresher.contracts.manifests import HarvestManifest
from thresher.storage import open_store

LENGTH = 8
WIDTHS = {"mlp_in.0": 6, "mlp_out.0": 10, "resid_post.0": 6}


class Opened:
    """Two harvests of the same text, of which the second is sharded otherwise."""

    def __init__(self, root: Path, exits: ExitStack) -> None:
        store = open_store(root.as_uri())
        self.manifests: list[HarvestManifest] = []
        self.sites: list[dict[str, DenseSite]] = []
        self.x: list[dict[str, torch.Tensor]] = []
        for index in range(2):
            rng = np.random.default_rng(index)
            rows = {
                name: rng.standard_normal((20 * LENGTH, w)).astype(np.float32) for name, w in WIDTHS.items()
            }
            manifest = write_harvest(
                store,
                rows,
                sequence_length=LENGTH,
                splits={"fit": 13, "report": 7},
                sequences_per_shard=8 if index == 0 else 5,
                harvest_id=f"h{index}",
            )
            self.manifests.append(manifest)
            self.sites.append(
                {name: exits.enter_context(DenseSite(store, manifest, name, root)) for name in WIDTHS}
            )
            self.x.append({name: torch.from_numpy(x).half().float() for name, x in rows.items()})
        self.numbers_N = np.random.default_rng(9).integers(0, 13 * (LENGTH - 1), 50)

    def columns(self, site: str, harvest: int = 0, factor: float = 1.0) -> SiteColumns:
        return SiteColumns(self.sites[harvest][site], SplitRows(self.manifests[harvest], "fit", 1), factor)

    def expected(self, site: str, numbers_N: np.ndarray, harvest: int = 0) -> torch.Tensor:
        sequence, position = np.divmod(numbers_N, LENGTH - 1)
        return self.x[harvest][site][sequence * LENGTH + position + 1]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    with ExitStack() as exits:
        yield Opened(tmp_path, exits)


def test_an_autoencoder_reconstructs_the_very_tensor_it_reads(opened: Opened) -> None:
    pairs = gather_pairs(AlignedRows([opened.columns("mlp_in.0")]), opened.numbers_N)
    assert pairs.y_BE is pairs.x_BD
    assert torch.equal(pairs.x_BD, opened.expected("mlp_in.0", opened.numbers_N))


def test_a_transcoder_pairs_the_rows_of_one_place(opened: Opened) -> None:
    source = AlignedRows([opened.columns("mlp_in.0")], [opened.columns("mlp_out.0")])
    pairs = gather_pairs(source, opened.numbers_N)
    assert torch.equal(pairs.x_BD, opened.expected("mlp_in.0", opened.numbers_N))
    assert torch.equal(pairs.y_BE, opened.expected("mlp_out.0", opened.numbers_N))
    assert (source.input_widths, source.output_widths) == ([6], [10])
    assert source.row_bytes == sum(opened.sites[0][site].row_bytes for site in ("mlp_in.0", "mlp_out.0"))


def test_a_crosscoder_sets_sites_side_by_side_also_of_two_harvests(opened: Opened) -> None:
    source = AlignedRows([opened.columns("mlp_out.0"), opened.columns("resid_post.0", harvest=1)])
    pairs = gather_pairs(source, opened.numbers_N)
    wanted = [
        opened.expected("mlp_out.0", opened.numbers_N),
        opened.expected("resid_post.0", opened.numbers_N, harvest=1),
    ]
    assert torch.equal(pairs.x_BD, torch.cat(wanted, dim=1))
    assert pairs.y_BE is pairs.x_BD


def test_a_layer_group_pools_sites_as_more_rows_each_times_its_factor(opened: Opened) -> None:
    parts = [
        AlignedRows([opened.columns(site, factor=factor)])
        for site, factor in (("mlp_in.0", 2.0), ("resid_post.0", 0.5))
    ]
    source = StackedRows(parts)
    own = 13 * (LENGTH - 1)
    assert len(source) == 2 * own
    numbers_N = np.random.default_rng(3).integers(0, 2 * own, 80)
    pairs = gather_pairs(source, numbers_N)
    for number, row in zip(numbers_N, pairs.x_BD, strict=True):
        site, factor = ("mlp_in.0", 2.0) if number < own else ("resid_post.0", 0.5)
        assert torch.equal(row, factor * opened.expected(site, np.array([number % own]))[0])


def test_stacks_of_pairs_keep_both_sides_together(opened: Opened) -> None:
    parts = [
        AlignedRows([opened.columns("mlp_in.0", harvest)], [opened.columns("mlp_out.0", harvest)])
        for harvest in (0, 1)
    ]
    own = 13 * (LENGTH - 1)
    pairs = gather_pairs(StackedRows(parts), np.array([own + 5, 5]))
    for place, harvest in enumerate((1, 0)):
        for site, found in (("mlp_in.0", pairs.x_BD), ("mlp_out.0", pairs.y_BE)):
            assert torch.equal(found[place], opened.expected(site, np.array([5]), harvest)[0])


class Heard(AlignedRows):
    def expect(self, ranges: object) -> None:
        self.ranges = list(ranges)


def test_each_part_hears_of_its_own_rows(opened: Opened) -> None:
    parts = [Heard([opened.columns("mlp_in.0")]), Heard([opened.columns("resid_post.0")])]
    own = 13 * (LENGTH - 1)
    StackedRows(parts).expect([(3, 7), (own - 2, own + 4)])
    assert parts[0].ranges == [(3, 7), (own - 2, own)]
    assert parts[1].ranges == [(0, 4)]


@pytest.mark.parametrize(("first", "stop"), [(0, 1), (0, 91), (5, 40), (55, 60), (90, 91)])
def test_ranges_of_a_split_hold_its_rows(opened: Opened, first: int, stop: int) -> None:
    rows = SplitRows(opened.manifests[0], "fit", 1)
    held = np.zeros(20 * LENGTH, bool)
    for low, high in rows.to_harvest_ranges(first, stop):
        held[low:high] = True
    wanted = rows.to_harvest_rows(np.arange(first, stop))
    assert held[wanted].all()
    assert held.sum() <= len(wanted) + len(wanted) // (LENGTH - 1) + 2, "little but those"
