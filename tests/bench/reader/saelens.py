"""SAELens' ActivationsStore over cached activations, as use_cached_activations makes it. Runs in SAELens' environment.

Its defaults: 32 sequences a read, a buffer of 20 training contexts, half of it kept for mixing. Rows are stored as
float16 (Hugging Face datasets have no bfloat16); batches are float32.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reader.case import BATCH_ROWS, SEQUENCE_LENGTH, WIDTH, Case, answer

HOOK = "blocks.1.hook_resid_post"


def write(rows: str, folder: str) -> None:
    """A dataset as SAELens' CacheActivationsRunner writes it: a row is a sequence, [length, width]."""
    import numpy as np
    from datasets import Array2D, Dataset, Features

    x_ND = np.load(rows, mmap_mode="r")
    shape = (SEQUENCE_LENGTH, WIDTH)
    features = Features({HOOK: Array2D(shape=shape, dtype="float16")})

    def sequences() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(x_ND), SEQUENCE_LENGTH):
            yield {HOOK: np.asarray(x_ND[start : start + SEQUENCE_LENGTH], np.float16)}

    Dataset.from_generator(sequences, features=features, cache_dir=f"{folder}-building").save_to_disk(folder)


def main(case: Case) -> None:
    import torch
    from sae_lens.training.activations_store import ActivationsStore

    torch.set_num_threads(2)
    warnings.simplefilter("ignore")
    store = ActivationsStore(
        model=None,  # type: ignore[arg-type]  # not used where activations are cached
        dataset=None,
        streaming=False,
        hook_name=HOOK,
        hook_head_index=None,
        context_size=SEQUENCE_LENGTH,
        d_in=WIDTH,
        n_batches_in_buffer=20,
        total_training_tokens=1 << 30,
        store_batch_size_prompts=32,
        train_batch_size_tokens=BATCH_ROWS,
        prepend_bos=True,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
        cached_activations_path=case.cached_path,
    )
    assert store.cached_activation_dataset is not None
    num_batches = len(store.cached_activation_dataset) * SEQUENCE_LENGTH // BATCH_ROWS

    def one_pass() -> Iterator[int]:
        for _ in range(num_batches):
            yield len(store.next_batch())

    answer(case, one_pass)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(*sys.argv[2:])
    else:
        main(Case.from_arguments())
