"""What training dictionaries beside each other on one read costs beyond their steps.

    PYTHONPATH=tests/bench:tests python tests/bench/bench_sweep.py [--dictionaries 8] [--steps 30] [--rounds 3]

Three sides, in turn within a round, on the same rows, rates and seeds: the steps of all dictionaries over batches that
lie in memory, which is the limit; all of them on one read of a stored harvest, as a sweep trains them; and one after
the other, each with a read of its own. Prints a table and writes JSON.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from fixtures.harvests import write_harvest
from thresher.activations.loader import BatchPlan, read_pairs
from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.harvests import read_harvests
from thresher.dictionary.target.rows import TargetRows
from thresher.dictionary.training.train_loop import take_steps
from thresher.dictionary.training.trainer import Trainer, initial_state
from thresher.dictionary.training.training_run import TrainingRun
from thresher.storage import ObjectStore, open_store

WIDTH, SEQUENCE_LENGTH, NUM_SEQUENCES = 576, 128, 700
SITE = "resid_post.1"
GOAL = 1.05


def write_rows(store: ObjectStore) -> None:
    rows_ND = np.random.default_rng(0).standard_normal((SEQUENCE_LENGTH * NUM_SEQUENCES, WIDTH), np.float32)
    splits = {"fit": NUM_SEQUENCES - 20, "report": 20}
    write_harvest(store, {SITE: rows_ND}, sequence_length=SEQUENCE_LENGTH, splits=splits, encoding="bfloat16")


def jobs(store: ObjectStore, options: argparse.Namespace, round_number: int) -> list[FitJob]:
    """Different sparsities; a name of their own in every round, so that nothing is found made."""
    return [
        FitJob(
            FitSpec.parse(
                {
                    "root": store.url,
                    "harvest": "harvest",
                    "target": {"kind": "autoencoder", "site": SITE},
                    "name": f"round{round_number}",
                    "architecture": {"kind": "topk", "num_latents": options.latents, "k": 8 + 8 * index},
                    "training": {"num_steps": options.steps, "batch_rows": 4096},
                    "checkpoint_every_steps": 10**6,
                    "tracking": {"every_steps": 10**6},
                }
            ),
            version=f"{index}",
            fit_id=f"{round_number}.{index}",
        )
        for index in range(options.dictionaries)
    ]


def compute_s(store: ObjectStore, given: list[FitJob]) -> float:
    """The steps alone."""
    with TargetRows(store, read_harvests(store, given[0].spec)) as rows:
        training = given[0].spec.training
        plan = BatchPlan(rows.order, training.batch_rows)
        batches = [plan.gather(rows.fit, step) for step in range(training.num_steps)]
        sample = read_pairs(rows.fit, rows.order, training.initial_rows)
        trainers = [
            Trainer(job.spec, rows.layout, initial_state(job.spec, rows.layout, sample), job.device)
            for job in given
        ]
        return _seconds(lambda: _step_all(trainers, batches))


def _step_all(trainers: list[Trainer], batches: list[RowPairs]) -> None:
    for trainer in trainers:
        for batch in batches:
            trainer.step(batch)


def product_s(store: ObjectStore, given: list[FitJob]) -> float:
    """As a sweep takes them, from the first read to the last checkpoint."""
    harvests = read_harvests(store, given[0].spec)
    with TargetRows(store, harvests) as rows:
        runs = [(job, TrainingRun(job, store, harvests, rows)) for job in given]
        return _seconds(lambda: take_steps(runs, rows))


def _seconds(work: Callable[[], None]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dictionaries", type=int, default=8)
    parser.add_argument("--latents", type=int, default=4608)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    figures: dict[str, list[float]] = {"compute": [], "one read": [], "a read each": []}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder).as_uri())
        write_rows(store)
        compute_s(store, jobs(store, options, -1)[:1])  # compiles
        for number in range(options.rounds):
            figures["compute"].append(compute_s(store, jobs(store, options, 3 * number)))
            figures["one read"].append(product_s(store, jobs(store, options, 3 * number + 1)))
            figures["a read each"].append(
                sum(product_s(store, [job]) for job in jobs(store, options, 3 * number + 2))
            )
    print(
        f"{options.dictionaries} dictionaries of {options.latents:,} latents, {options.steps} steps of 4,096 rows"
    )
    print(f"{'':<14}{'seconds':>10}{'of compute':>12}{'goal':>8}")
    ratios = {}
    for name, seconds in figures.items():
        ratios[name] = median(one / base for one, base in zip(seconds, figures["compute"], strict=True))
        goal = f"{GOAL:.2f}" if name == "one read" else ""
        print(f"{name:<14}{median(seconds):>10.2f}{ratios[name]:>12.3f}{goal:>8}")
    record = {
        "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "sizes": {name: value for name, value in vars(options).items() if name != "out"},
        "seconds": figures,
        "median_of_compute": ratios,
        "goal": GOAL,
    }
    options.out.mkdir(exist_ok=True)
    (options.out / "sweep.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
