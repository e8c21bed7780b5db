"""Rows decoded where they lie are those of the plain decoding, bit for bit."""

import numpy as np
import pytest
import torch

from thresher.activations.row_decoding import RowDecoding
from thresher.activations.row_encoding import Centre, DenseEncoding
from thresher.activations.row_gather import gather_rows
from thresher.activations.stored_rows import StoredRun, pieces_of
from thresher.contracts.manifests import EncodingName

WIDTHS = [1, 31, 33, 64, 100]


def stored(
    encoding: EncodingName, x_ND: torch.Tensor, centred: bool
) -> tuple[np.ndarray, np.ndarray | None, RowDecoding]:
    centre = Centre.of(x_ND) if centred else None
    dense = DenseEncoding(encoding, x_ND.shape[1], centre)
    batch = dense.record_batch([dense.encode(x_ND)])
    raw = batch.column("x").flatten().to_numpy(zero_copy_only=True).reshape(len(x_ND), -1)
    scale = batch.column("scale").flatten().to_numpy().reshape(len(x_ND), -1) if encoding == "int8" else None
    return raw, scale, RowDecoding.of(dense.schema)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("encoding", "centred"), [("bfloat16", False), ("float16", False), ("int8", False), ("int8", True)]
)
def test_rows_are_those_of_the_plain_decoding(encoding: EncodingName, centred: bool, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    runs, expected, first_row = [], [], 5
    for count in (40, 1, 17):  # each run with a centre of its own
        x_ND = 50 * torch.randn(count, width, generator=generator) + 3
        raw, scale, decoding = stored(encoding, x_ND, centred and count > 1)
        runs.append(StoredRun(first_row, raw, scale, decoding))
        expected.append(decoding.decode(raw, scale))
        first_row += count
    pieces = pieces_of(runs, width)
    rows_N = np.random.default_rng(0).integers(5, first_row, 200)
    places_N = np.random.default_rng(1).permutation(200)
    out = np.full((200, width + 3), np.nan, np.float32)
    gather_rows(pieces, encoding, rows_N, out[:, 2:-1], places_N, 1.0)
    assert np.array_equal(out[places_N, 2:-1], np.concatenate(expected)[rows_N - 5])
    assert np.isnan(out[:, :2]).all(), "nothing is written beside the columns"
    gather_rows(pieces, encoding, rows_N, out[:, 2:-1], places_N, 0.3)
    assert np.array_equal(out[places_N, 2:-1], np.concatenate(expected)[rows_N - 5] * np.float32(0.3))


def test_every_float16_is_exact() -> None:
    """All 65,536 of them, among them zeros, the smallest and what is not finite."""
    raw = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    decoding = RowDecoding("float16", None, None)
    out = np.empty(raw.shape, np.float32)
    gather_rows(
        pieces_of([StoredRun(0, raw, None, decoding)], 64),
        "float16",
        np.arange(len(raw)),
        out,
        np.arange(len(raw)),
        1.0,
    )
    expected = raw.astype(np.float32)
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(out), nan)
    assert np.array_equal(out[~nan].view(np.uint32), expected[~nan].view(np.uint32))


@pytest.mark.parametrize("sizes", [[3, 500, 1, 1, 90], [7], [1] * 50, [1000, 1]])
def test_rows_are_found_in_runs_of_any_length(sizes: list[int]) -> None:
    total = sum(sizes)
    raw = np.arange(total, dtype=np.float16).reshape(-1, 1)
    firsts = np.cumsum([0, *sizes[:-1]])
    decoding = RowDecoding("float16", None, None)
    runs = [
        StoredRun(int(first), raw[first : first + size], None, decoding)
        for first, size in zip(firsts, sizes, strict=True)
    ]
    out = np.empty((total, 1), np.float32)
    rows_N = np.random.default_rng(0).permutation(total)
    gather_rows(pieces_of(runs, 1), "float16", rows_N, out, np.arange(total), 1.0)
    assert np.array_equal(out[:, 0], rows_N.astype(np.float16).astype(np.float32))


def test_rows_outside_the_runs_are_not_covered() -> None:
    raw = np.zeros((10, 4), np.float16)
    decoding = RowDecoding("float16", None, None)
    pieces = pieces_of([StoredRun(10, raw, None, decoding), StoredRun(30, raw, None, decoding)], 4)
    assert pieces.cover(np.array([9, 10, 19, 20, 29, 30, 39, 40])).tolist() == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert not pieces_of([], 4).cover(np.array([0])).any()
