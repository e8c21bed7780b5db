"""The codes that all sides are given: as a sparse harvest, and as arrays.

Latents fire by a power law of their rank, 32 a row, of 4,608; values are log-normal; words follow Zipf's law; documents
have 200 tokens and a fifth of the corpus is reported on.
"""

from pathlib import Path

import numpy as np

from exemplars.case import NUM_LATENTS, SEQUENCE_LENGTH, K
from fixtures.codes import PlantedCodes, write_planted_dictionary, write_sparse_harvest
from thresher.contracts.manifests import SplitRange
from thresher.runtime.model_identity import tokenizer_sha256
from thresher.storage import open_store

EXPONENT, WIDTH, DOCUMENT_TOKENS, VOCABULARY = 0.5, 576, 200, 49_000
SEQUENCES_PER_SHARD = 64


def write_codes(folder: Path, tokenizer: str, num_tokens: int, seed: int) -> str:
    """Write both forms into the folder; the id of the harvest."""
    rng = np.random.default_rng(seed)
    latents = _latents(rng, num_tokens)
    values = np.exp(rng.normal(0, 0.8, num_tokens * K)).astype(np.float32)
    tokens = np.minimum(rng.zipf(1.2, num_tokens), VOCABULARY).astype(np.int32)
    num_sequences = num_tokens // SEQUENCE_LENGTH
    explain = num_sequences * 4 // 5
    first_reported = explain * SEQUENCE_LENGTH
    planted = PlantedCodes(
        row_offsets=np.arange(num_tokens + 1) * K,
        latents=latents,
        values=values,
        token_ids=tokens,
        doc_ids=[f"{row >= first_reported}-{row // DOCUMENT_TOKENS}" for row in range(num_tokens)],
        num_latents=NUM_LATENTS,
        sequence_length=SEQUENCE_LENGTH,
        splits=[
            SplitRange(split="explain", start=0, stop=explain),
            SplitRange(split="report", start=explain, stop=num_sequences),
        ],
    )
    store = open_store((folder / "store").as_uri())
    write_planted_dictionary(store, rng.standard_normal((NUM_LATENTS, WIDTH)).astype(np.float32))
    made = write_sparse_harvest(
        store,
        planted,
        sequences_per_shard=SEQUENCES_PER_SHARD,
        batch_rows=4096,
        tokenizer_sha256=tokenizer_sha256("tokenizer", tokenizer),
    )
    (folder / "arrays").mkdir()
    for name, array in (("latents", latents), ("values", values), ("tokens", tokens)):
        np.save(folder / "arrays" / f"{name}.npy", array)
    return made.harvest_id


def _latents(rng: np.random.Generator, num_tokens: int) -> np.ndarray:
    """[tokens x K], ascending and distinct within a row: latent f fires about as often as (f + 1) ** -EXPONENT."""
    weight_F = (np.arange(NUM_LATENTS) + 1.0) ** -EXPONENT
    cumulative_F = np.cumsum(weight_F) / weight_F.sum()
    rows = []
    for first in range(0, num_tokens, 1 << 14):
        count = min(1 << 14, num_tokens - first)
        # One draw from each of K strata of equal weight; a latent that two strata share moves to the next.
        place = (np.arange(K) + rng.random((count, K))) / K
        latents = np.searchsorted(cumulative_F, place).clip(0, NUM_LATENTS - 1)
        for column in range(1, K):
            latents[:, column] = np.maximum(latents[:, column], latents[:, column - 1] + 1)
        rows.append(latents.astype(np.int32).ravel())
    found = np.concatenate(rows)
    assert found.max() < NUM_LATENTS
    return found
