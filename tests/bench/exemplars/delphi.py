"""Delphi's cache and constructor on the same codes, by its defaults. Runs in Delphi's environment.

Its LatentCache is given the nonzero codes that it would have gathered from a forward pass; neither that pass, nor its
search for nonzero values in dense activations, nor bringing the codes into memory is timed. Timed are save_splits
(5 splits), and LatentDataset over all latents: load, constructor (50 random non-activating windows) and sampler
(40 examples to explain, 50 to score, over 10 quantiles), without neighbours, embeddings or de-duplication.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from exemplars.case import MODULE, NUM_LATENTS, SEQUENCE_LENGTH, Case, K, Stages


def main(case: Case) -> None:
    from delphi.config import CacheConfig, ConstructorConfig, SamplerConfig
    from delphi.latents import LatentCache, LatentDataset
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(case.tokenizer, "tokenizer.json")))
    arrays = {
        name: np.load(Path(case.folder, "arrays", f"{name}.npy")) for name in ("latents", "values", "tokens")
    }
    tokens = torch.from_numpy(arrays["tokens"].astype(np.int64)).view(-1, SEQUENCE_LENGTH)
    row = torch.arange(tokens.numel()).repeat_interleave(K)
    locations = torch.stack(
        [row // SEQUENCE_LENGTH, row % SEQUENCE_LENGTH, torch.from_numpy(arrays["latents"]).long()], dim=1
    )
    cache = LatentCache(None, {}, batch_size=32)
    cache.width = NUM_LATENTS
    cache.cache.latent_locations[MODULE] = locations
    cache.cache.latent_activations[MODULE] = torch.from_numpy(arrays["values"])
    cache.cache.tokens[MODULE] = tokens
    del arrays, row, locations
    out, config = Path(case.out), CacheConfig()
    stages = Stages()
    with stages.timed("save"):
        cache.save_splits(config.n_splits, out)
        cache.save_config(out, config, "model")
    del cache
    num_latents = num_examples = 0
    with stages.timed("load and construct"):
        dataset = LatentDataset(out, SamplerConfig(), ConstructorConfig(), tokenizer)
        for record in dataset:
            num_latents += 1
            num_examples += len(record.train) + len(record.test) + len(record.not_active)
    stages.answer(num_examples=num_examples, num_latents=num_latents)


if __name__ == "__main__":
    main(Case.from_arguments())
