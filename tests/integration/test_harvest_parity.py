"""Harvested rows agree with transformers' own forward pass, row by row, through real vLLM in real Ray actors."""

import numpy as np
import pytest
import torch

from fixtures.corpora import build_small_corpus
from fixtures.harvest_rows import dense_rows_of, row_addresses_of
from fixtures.models import TINY_LAYERS, TINY_MODELS, TINY_WINDOW
from thresher.activations.sequences import open_sequences
from thresher.harvest.coordinator import harvest
from thresher.harvest.families import FAMILIES
from thresher.harvest.reference_forward import reference_rows
from thresher.harvest.spec import HarvestSpec
from thresher.storage import open_store

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("local_ray")]

LENGTH = 64
FLOAT32_TOLERANCE = 1e-4
"""Two float32 forwards of four layers that sum in different orders: about 2^-24 a sum, hundreds of terms."""
FLOAT16_ROUNDING = 2.0**-11
"""Rows are stored with 11 bits: each value is off by at most half of its last."""


def _spec(root, model, sites, dtype, encoding, **engine):
    corpus = build_small_corpus(root, model, max_tokens=24 * LENGTH)
    return HarvestSpec.parse(
        {
            "root": root,
            "corpus": corpus.corpus_id,
            "model": str(model),
            "sites": sites,
            "splits": ["fit", "report"],
            "dtype": dtype,
            "encoding": encoding,
            "sequences_per_shard": 8,
            "engine": {"kv_cache_gib": 1, **engine},
        }
    )


def _reference(store, manifest, model, sites, dtype):
    sequences = open_sequences(store, manifest.corpus_id)
    token_ids = np.concatenate([sequences.token_ids(item.start, item.stop) for item in manifest.splits])
    by_site = reference_rows(model, token_ids, sites, dtype)
    return {site: x_SLD.reshape(-1, x_SLD.shape[-1]) for site, x_SLD in by_site.items()}


def _relative_errors(x, reference):
    """One figure a row: a single misplaced row cannot hide in a mean."""
    return np.linalg.norm(x - reference, axis=1) / np.linalg.norm(reference, axis=1)


@pytest.mark.parametrize("architecture", TINY_MODELS)
def test_every_site_of_each_family_under_chunked_prefill(architecture, tiny_model, harvest_in_host, tmp_path):
    # 96 tokens a step is one sequence and a half: every second sequence is prefilled in two chunks. The first layer
    # has no residual to add; the third has, and slides its window in the families with alternating ones.
    assert TINY_WINDOW < LENGTH
    model, root = tiny_model(architecture), f"file://{tmp_path}"
    sites = [f"{kind}.{layer}" for kind in FAMILIES[architecture].taps for layer in (0, TINY_LAYERS - 2)]
    spec = _spec(root, model, sites, "float32", "float16", max_batch_tokens=96, max_batch_sequences=4)
    manifest = harvest_in_host(spec)
    store = open_store(root)
    reference = _reference(store, manifest, model, sites, torch.float32)
    for site in sites:
        x = dense_rows_of(store, manifest, site)
        stored_error = manifest.sites[site].relative_error
        assert x.shape == reference[site].shape
        assert 0 < stored_error < 2.0**-10, "float16 rounds to 11 bits"
        assert np.max(_relative_errors(x, reference[site])) < FLOAT32_TOLERANCE + FLOAT16_ROUNDING, site
        rounded = reference[site].astype(np.float16).astype(np.float32)
        assert np.median(_relative_errors(x, rounded)) < FLOAT32_TOLERANCE, site


def test_real_model_in_bfloat16_and_every_row_addressed(bundled_model, tmp_path):
    root, sites = f"file://{tmp_path}", ["resid_post.10", "resid_post.20"]
    manifest = harvest(_spec(root, bundled_model, sites, "bfloat16", "bfloat16", max_batch_tokens=512))
    store = open_store(root)
    exact = _reference(store, manifest, bundled_model, sites, torch.float32)
    rounded = _reference(store, manifest, bundled_model, sites, torch.bfloat16)
    for site in sites:
        # What bfloat16 costs transformers' own forward is what it may cost ours: the two round in other places.
        allowed = _relative_errors(rounded[site], exact[site])
        errors = _relative_errors(dense_rows_of(store, manifest, site), exact[site])
        assert np.median(errors) < 1.25 * np.median(allowed), site
        assert np.quantile(errors, 0.99) < 1.5 * np.quantile(allowed, 0.99), site
        assert np.max(errors) < 2 * np.max(allowed), site
        assert manifest.sites[site].relative_error == 0, (
            "the engine computes in bfloat16: storing it is exact"
        )
    _assert_addresses(store, manifest)


def _assert_addresses(store, manifest):
    rows = row_addresses_of(store, manifest)
    sequences = [sequence for item in manifest.splits for sequence in range(item.start, item.stop)]
    assert rows.column("sequence").to_pylist() == [sequence for sequence in sequences for _ in range(LENGTH)]
    assert rows.column("position").to_pylist() == list(range(LENGTH)) * len(sequences)
    assert manifest.num_rows == rows.num_rows
    documents = dict(zip(rows.column("sequence").to_pylist(), rows.column("doc_id").to_pylist(), strict=True))
    assert all(doc_id.startswith("wikipedia/") for doc_id in documents.values())
