"""Memory is bounded by latents x windows kept: eight times the tokens take no more."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures.codes import PlantedCodes, write_planted_dictionary, write_sparse_harvest
from thresher.contracts.manifests import SplitRange
from thresher.features.spec import FeaturesSpec
from thresher.runtime.model_identity import tokenizer_sha256
from thresher.storage import open_store

pytestmark = pytest.mark.slow

NUM_LATENTS, K, LENGTH = 256, 16, 128
MIB = 1 << 20
PROGRAM = """
import sys
from pathlib import Path
from thresher.features import pool
from thresher.features.build import build_features
from thresher.features.spec import FeaturesSpec
pool.POOL_WINDOWS = 64  # which the smaller harvest fills
build_features(FeaturesSpec.model_validate_json(sys.argv[1]))
[line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(line.split()[1]) * 1024)
"""


def random_harvest(num_sequences: int) -> PlantedCodes:
    """One of each K-th of the latents on every row, documents of 40 rows, half of the sequences to explain."""
    rng = np.random.default_rng(0)
    num_rows = num_sequences * LENGTH
    width = NUM_LATENTS // K
    latents = np.arange(K) * width + rng.integers(0, width, (num_rows, K))
    half = num_sequences // 2
    splits = [
        SplitRange(split="explain", start=0, stop=half),
        SplitRange(split="report", start=half, stop=num_sequences),
    ]
    return PlantedCodes(
        row_offsets=np.arange(num_rows + 1) * K,
        latents=latents.ravel().astype(np.int32),
        values=rng.random(num_rows * K).astype(np.float32) + 0.1,
        token_ids=rng.integers(0, 250, num_rows).astype(np.int32),
        doc_ids=[f"{row // (half * LENGTH)}-{row // 40}" for row in range(num_rows)],
        num_latents=NUM_LATENTS,
        sequence_length=LENGTH,
        splits=splits,
    )


def peak_bytes(folder: Path, tokenizer: Path, num_sequences: int) -> int:
    store = open_store(folder.as_uri())
    write_planted_dictionary(
        store, np.random.default_rng(1).standard_normal((NUM_LATENTS, 8)).astype(np.float32)
    )
    made = write_sparse_harvest(
        store,
        random_harvest(num_sequences),
        sequences_per_shard=16,
        batch_rows=2048,
        tokenizer_sha256=tokenizer_sha256("tokenizer", str(tokenizer)),
    )
    few = {"top_exemplars": 4, "quantile_exemplars": 5, "quantiles": 5, "random_exemplars": 2, "negatives": 4}
    spec = FeaturesSpec(
        root=folder.as_uri(),
        harvest=made.harvest_id,
        tokenizer=str(tokenizer),
        output=None,
        hard_negatives=2,
        **few,
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, spec.model_dump_json()], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1])


def test_eight_times_the_tokens_take_no_more_memory(tmp_path: Path, tokenizer_folder: Path) -> None:
    """From 64k to 524k tokens the codes grow by 56 MiB. Few windows are kept, so that both sizes fill them."""
    few, many = (
        peak_bytes(tmp_path / str(size), tokenizer_folder, num_sequences=size) for size in (512, 4096)
    )
    assert many - few < 16 * MIB
