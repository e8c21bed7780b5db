"""What an engine may be asked for besides dense rows, on real vLLM: ranks, auxiliary outputs, selections, int8."""

import numpy as np
import pytest
import torch

from fixtures.corpora import build_small_corpus
from fixtures.harvest_rows import row_addresses_of
from fixtures.models import TINY_LAYERS
from thresher.activations.dense_reader import DenseSite
from thresher.activations.sequences import open_sequences
from thresher.harvest.coordinator import harvest
from thresher.harvest.reference_forward import reference_rows
from thresher.harvest.spec import HarvestSpec
from thresher.storage import open_store

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("local_ray")]

LENGTH = 64
SITES = ["resid_post.0", f"resid_post.{TINY_LAYERS - 1}"]
FLOAT16_ROUNDING = 2.0**-11
FLOAT32_TOLERANCE = 1e-4


def _spec(root, model, **more):
    corpus = build_small_corpus(root, model, max_tokens=24 * LENGTH)
    base = {
        "root": root,
        "corpus": corpus.corpus_id,
        "model": str(model),
        "sites": SITES,
        "splits": ["fit", "report"],
        "dtype": "float32",
        "encoding": "float16",
        "sequences_per_shard": 4,
    }
    engine = {
        "kv_cache_gib": 0.25,
        "max_batch_tokens": 96,
        "max_batch_sequences": 4,
        **more.pop("engine", {}),
    }
    return HarvestSpec.parse({**base, "engine": engine, **more})


def _worst_errors(store, manifest, model, tmp_path):
    """Largest relative error of a row, by site, against transformers at the addresses that the harvest states."""
    sequences = open_sequences(store, manifest.corpus_id)
    count = sequences.manifest.num_sequences
    reference = reference_rows(model, sequences.token_ids(0, count), list(manifest.sites), torch.float32)
    rows = row_addresses_of(store, manifest)
    at = rows["sequence"].to_numpy(), rows["position"].to_numpy()
    worst = {}
    for site in manifest.sites:
        with DenseSite(store, manifest, site, tmp_path) as dense:
            x_ND = dense.gather(np.arange(len(dense))).numpy()
        exact_ND = reference[site][at]
        worst[site] = (np.linalg.norm(x_ND - exact_ND, axis=1) / np.linalg.norm(exact_ND, axis=1)).max()
    return worst


def test_tensor_parallel_ranks_share_the_shards(tiny_llama, tmp_path):
    # Two real ranks of one engine, a core each: the worker processes hold the same rows and write other shards.
    root = f"file://{tmp_path}/root"
    spec = _spec(root, tiny_llama, engine={"tensor_parallel": 2}, actors={"num_cpus": 1})
    manifest, store = harvest(spec), open_store(root)
    assert manifest.num_rows == sum(item.stop - item.start for item in manifest.splits) * LENGTH
    for site, worst in _worst_errors(store, manifest, tiny_llama, tmp_path).items():
        assert worst < FLOAT32_TOLERANCE + FLOAT16_ROUNDING, site


def test_auxiliary_outputs_are_the_residual_stream(tiny_llama, harvest_in_host, tmp_path):
    root = f"file://{tmp_path}/root"
    manifest = harvest_in_host(_spec(root, tiny_llama, engine={"taps": "aux"}))
    for site, worst in _worst_errors(open_store(root), manifest, tiny_llama, tmp_path).items():
        assert worst < FLOAT32_TOLERANCE + FLOAT16_ROUNDING, site


def test_selected_rows_in_int8_are_the_rows_of_their_addresses(tiny_llama, harvest_in_host, tmp_path):
    root = f"file://{tmp_path}/root"
    selection = {"min_position": 1, "skip_special_tokens": True, "fraction": 0.5, "seed": 7}
    manifest = harvest_in_host(_spec(root, tiny_llama, encoding="int8", centre=True, selection=selection))
    store = open_store(root)
    rows = row_addresses_of(store, manifest)
    special = open_sequences(store, manifest.corpus_id).manifest.special_token_ids
    assert rows["position"].to_numpy().min() >= 1
    assert not set(rows["token_id"].to_pylist()) & set(special)
    whole = sum(item.stop - item.start for item in manifest.splits) * (LENGTH - 1)
    assert 0.4 * whole < manifest.num_rows == rows.num_rows < 0.6 * whole
    for site, worst in _worst_errors(store, manifest, tiny_llama, tmp_path).items():
        stated = manifest.sites[site].max_row_error
        assert worst == pytest.approx(stated, rel=0.05), site
        assert worst < 0.01, "eight bits a value cost half a percent"
