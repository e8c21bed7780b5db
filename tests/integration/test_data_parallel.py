"""Workers that share a batch over real collectives take the steps that one worker takes with all of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, multiprocessing

from fixtures.planted_fits import planted_fit
from thresher.activations.loader import BatchPlan
from thresher.activations.row_pairs import RowPairs
from thresher.activations.row_source import gather_pairs
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.harvests import read_harvests
from thresher.dictionary.target.rows import TargetRows
from thresher.dictionary.training.trainer import Trainer, initial_state
from thresher.storage import open_store

pytestmark = pytest.mark.real

NUM_STEPS = 30


def train(spec: FitSpec, rank: int, world_size: int, output: Path) -> None:
    """Take steps on this rank's part of every batch; a rank other than the first starts from a state of its own."""
    torch.set_num_threads(1)
    store = open_store(spec.root)
    with TargetRows(store, read_harvests(store, spec)) as rows:
        plan = BatchPlan(rows.order, spec.training.batch_rows, rank, world_size)
        sample = gather_pairs(rows.fit, np.arange(2000)).x_BD
        state = initial_state(spec, rows.layout, RowPairs.of_rows(sample + rank))
        if rank == 1:  # as from a checkpoint, whose order is any
            state.tensors = dict(reversed(state.tensors.items()))
        trainer = Trainer(spec, rows.layout, state, torch.device("cpu"))
        for step in range(NUM_STEPS):
            report = trainer.step(RowPairs.of_rows(plan.gather(rows.fit, step).x_BD))
    tensors = trainer.state().tensors
    save_file({**tensors, "loss": report.reconstruction_loss, "num_active": report.num_active}, output)


def worker(rank: int, spec: FitSpec, world_size: int, folder: Path) -> None:
    rendezvous = f"file://{folder}/rendezvous"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world_size)
    train(spec, rank, world_size, folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


@pytest.mark.parametrize("world_size", [2, 3])
def test_steps_do_not_depend_on_the_number_of_workers(tmp_path: Path, world_size: int) -> None:
    spec = planted_fit(open_store((tmp_path / "store").as_uri()), dead_after_rows=300)
    multiprocessing.spawn(worker, args=(spec, world_size, tmp_path), nprocs=world_size)
    train(spec, 0, 1, tmp_path / "alone.safetensors")
    alone = load_file(tmp_path / "alone.safetensors")
    assert alone["num_active"] == spec.architecture.k * spec.training.batch_rows
    assert (alone["rows_since_active"] > 0).any()
    for rank in range(world_size):
        state = load_file(tmp_path / f"{rank}.safetensors")
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", "loss", "num_active", "rows_since_active"):
            torch.testing.assert_close(state[name], alone[name], rtol=1e-3, atol=1e-4, msg=f"{rank} {name}")
