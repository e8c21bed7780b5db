"""Gradients of workers that share a batch add up to those of one worker with all of it."""

import pytest
import torch

from fixtures.objectives import LAYOUTS, B, batch_of, dead_latents, objective_of, specs, weights_of
from fixtures.thread_workers import run_workers
from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.objective import Losses

DEAD_F = dead_latents(4, 9, 30)


def part(batch: RowPairs, rows: slice) -> RowPairs:
    if batch.y_BE is batch.x_BD:
        return RowPairs.of_rows(batch.x_BD[rows])
    return RowPairs(batch.x_BD[rows], batch.y_BE[rows])


@pytest.mark.parametrize("target", ["autoencoder", "skip"])
@pytest.mark.parametrize("name", specs())
def test_losses_and_gradients_add_up(name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, layout = specs(decoder_norm="free")[name], LAYOUTS[target]
    weights, batch = weights_of(spec, layout), batch_of(layout)
    whole = objective_of(spec, layout).losses(weights, batch, DEAD_F, 60)
    whole.total.backward()
    copies = [weights_of(spec, layout) for _ in range(2)]

    def worker(rank: int) -> Losses:
        rows = slice(0, 17) if rank == 0 else slice(17, B)
        losses = objective_of(spec, layout).losses(copies[rank], part(batch, rows), DEAD_F, 60)
        losses.total.backward()
        return losses

    parts = run_workers(monkeypatch, 2, worker)
    for field in ("total", "reconstruction", "sparsity", "auxiliary"):
        assert sum(getattr(losses, field).item() for losses in parts) == pytest.approx(
            getattr(whole, field).item(), rel=1e-5
        )
    assert torch.equal(parts[0].num_active_F + parts[1].num_active_F, whole.num_active_F)
    for weight_name, weight in weights.items():
        summed = copies[0][weight_name].grad + copies[1][weight_name].grad
        torch.testing.assert_close(summed, weight.grad, rtol=1e-4, atol=2e-6, msg=weight_name)
