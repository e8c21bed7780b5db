"""Encoded rows read back, and the errors that their records state, against plain numpy."""

import numpy as np
import pytest
import torch

from thresher.activations.row_decoding import RowDecoding, raw_rows
from thresher.activations.row_encoding import Centre, DenseEncoding, EncodingRangeError
from thresher.activations.row_statistics import MAX_OUTLIERS, RowStatistics
from thresher.contracts.schemas import num_int8_blocks

WIDTH = 48  # one block of 32 columns and a half


def _rows(count: int = 64, seed: int = 0) -> torch.Tensor:
    """Rows with a mean, columns of unlike spread, and one column that drowns the others."""
    generator = torch.Generator().manual_seed(seed)
    spread_D = torch.linspace(0.1, 3.0, WIDTH)
    spread_D[7] = 200.0
    return 5.0 + torch.randn(count, WIDTH, generator=generator) * spread_D


def _read(encoding: DenseEncoding, batch) -> np.ndarray:
    scale = raw_rows(batch.column("scale"), num_int8_blocks(WIDTH)) if "scale" in batch.schema.names else None
    return RowDecoding.of(batch.schema).decode(raw_rows(batch.column("x"), WIDTH), scale)


@pytest.mark.parametrize(("encoding", "worst"), [("bfloat16", 2.0**-8), ("float16", 2.0**-11), ("int8", 0.1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_is_what_was_stored_and_its_error_is_stated(encoding, worst, dtype):
    x_ND = _rows().to(dtype)
    dense = DenseEncoding(encoding, WIDTH)
    rows = dense.encode(x_ND)
    read = _read(dense, dense.record_batch([rows.part(0, 10), rows.part(10, 64)]))
    exact = x_ND.double().numpy()
    errors = np.linalg.norm(read - exact, axis=1)
    np.testing.assert_allclose(rows.errors_N.numpy(), errors, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(rows.norms_N.numpy(), np.linalg.norm(exact, axis=1), rtol=1e-5)
    assert (errors / np.linalg.norm(exact, axis=1)).max() < worst


def test_int8_is_as_exact_as_half_a_step_of_each_block():
    x_ND = _rows()
    dense = DenseEncoding("int8", WIDTH)
    read = _read(dense, dense.record_batch([dense.encode(x_ND)]))
    for block in (slice(0, 32), slice(32, WIDTH)):
        step = np.abs(x_ND.numpy()[:, block]).max(axis=1, keepdims=True) / 127
        # The scale itself is rounded to 11 bits, which moves the largest values by a sixteenth of a step.
        assert (np.abs(read - x_ND.numpy())[:, block] <= step * (0.5 + 127 * 2.0**-11 + 1e-3)).all()


def test_a_centre_takes_outlier_columns_out_of_the_scale():
    x_ND, sample_ND = _rows(seed=1), _rows(256, seed=2)
    plain, centred = DenseEncoding("int8", WIDTH), DenseEncoding("int8", WIDTH, Centre.of(sample_ND))
    rows = centred.encode(x_ND)
    relative = (rows.errors_N / rows.norms_N).median()
    before = plain.encode(x_ND)
    read = _read(centred, centred.record_batch([rows]))
    np.testing.assert_allclose(
        np.linalg.norm(read - x_ND.numpy(), axis=1), rows.errors_N.numpy(), rtol=1e-2, atol=1e-4
    )
    # Of the small columns, which the outlier column's scale had rounded away, next to nothing is lost.
    small = np.delete(np.arange(32), 7)
    plain_read = _read(plain, plain.record_batch([before]))
    lost_before = np.abs(plain_read - x_ND.numpy())[:, small].mean()
    assert np.abs(read - x_ND.numpy())[:, small].mean() < 0.1 * lost_before
    assert relative < 0.01


def test_rows_of_zero_are_rows_of_zero():
    dense = DenseEncoding("int8", WIDTH)
    rows = dense.encode(torch.zeros(3, WIDTH))
    assert not _read(dense, dense.record_batch([rows])).any()
    assert not rows.errors_N.any()


def test_float16_refuses_what_it_cannot_hold():
    with pytest.raises(EncodingRangeError, match="bfloat16"):
        DenseEncoding("float16", WIDTH).encode(torch.full((2, WIDTH), 1e5))


def test_a_row_that_is_not_finite_shows_in_its_norm():
    x_ND = _rows(4)
    x_ND[2, 5] = float("nan")
    finite = torch.isfinite(DenseEncoding("bfloat16", WIDTH).encode(x_ND).norms_N)
    assert finite.tolist() == [True, True, False, True]


def test_statistics_are_those_of_all_rows_however_they_came():
    x_ND = _rows(500)
    rows = DenseEncoding("int8", WIDTH).encode(x_ND)
    sequences, positions = np.divmod(np.arange(500), 50)
    found = RowStatistics()
    for start, stop in ((0, 130), (130, 131), (131, 500)):
        part = rows.part(start, stop)
        found.add(part.norms_N, part.errors_N, sequences[start:stop], positions[start:stop])
    norms, errors = rows.norms_N.double().numpy(), rows.errors_N.double().numpy()
    assert found.relative_error == pytest.approx(np.sqrt((errors**2).sum() / (norms**2).sum()))
    assert found.max_row_error == pytest.approx((errors / norms).max())
    assert sum(found.norm_counts.values()) == 500
    for key, count in found.norm_counts.items():
        assert ((norms >= 2 ** (key / 4)) & (norms < 2 ** ((key + 1) / 4))).sum() == count
    largest = np.argsort(-norms)[:MAX_OUTLIERS]
    assert [(item.sequence, item.position) for item in found.outliers] == [
        divmod(int(i), 50) for i in largest
    ]


def test_a_massive_row_does_not_set_the_spread():
    """One row in a hundred that is a hundred times longer in one column, as attention sinks are."""
    sample_ND = _rows(256, seed=2)
    massive_ND = sample_ND.clone()
    massive_ND[:2, 3] = 100 * sample_ND.norm(dim=1).max()
    x_ND = _rows(seed=1)
    errors = [
        float(DenseEncoding("int8", WIDTH, Centre.of(sample)).encode(x_ND).errors_N.median())
        for sample in (sample_ND, massive_ND)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)
