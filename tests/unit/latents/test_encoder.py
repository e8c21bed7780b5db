import json

import numpy as np
import pytest
import torch
from safetensors.torch import load

from fixtures.targets import autoencoder_target
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, MissingArtifactError, SpecError
from thresher.contracts.manifests import DictionaryManifest, ReconstructionMetrics
from thresher.latents import encoder as encoder_module
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator
from thresher.latents.weights import config_json, load_encoder, parse_weights, weights_safetensors
from thresher.storage import ObjectStore
from thresher.storage.artifacts import publish_manifest, put_file

D, F = 10, 24
METADATA = {
    "model_name": "tiny",
    "hook_name": "blocks.0.hook_resid_post",
    "context_size": 8,
    "prepend_bos": True,
}


@pytest.fixture
def encoder() -> SparseEncoder:
    generator = torch.Generator().manual_seed(1)
    shapes = {"W_enc_DF": (D, F), "b_enc_F": (F,), "W_dec_FE": (F, D), "b_dec_E": (D,)}
    tensors = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    return SparseEncoder(**tensors, threshold_F=torch.rand(F, generator=generator) * 4 - 0.5)


def reference_codes(encoder: SparseEncoder, x_BD: np.ndarray) -> np.ndarray:
    """JumpReLU over ReLU in float64, one threshold a latent."""
    z_BF = (x_BD - encoder.b_dec_E.numpy()) @ encoder.W_enc_DF.double().numpy() + encoder.b_enc_F.numpy()
    return np.where(z_BF > np.maximum(encoder.threshold_F.numpy(), 0), z_BF, 0)


def dense(encoder: SparseEncoder, x_BD: torch.Tensor) -> np.ndarray:
    codes = encoder.encode(x_BD)
    codes_BF = np.zeros((codes.num_rows, encoder.num_latents))
    codes_BF[codes.row_of_code(), codes.latents] = codes.values
    return codes_BF


@pytest.mark.parametrize("piece_rows", [1, 7, 1000])
def test_codes_are_jumprelu_whatever_the_pieces(
    encoder: SparseEncoder, piece_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "MAX_PREACTIVATIONS", piece_rows * F)
    x_BD = torch.randn(50, D, generator=torch.Generator().manual_seed(2))
    expected_BF = reference_codes(encoder, x_BD.double().numpy())
    np.testing.assert_allclose(dense(encoder, x_BD), expected_BF, rtol=1e-5, atol=1e-5)
    assert 0.05 < (expected_BF > 0).mean() < 0.8
    expected_BD = expected_BF @ encoder.W_dec_FE.double().numpy() + encoder.b_dec_E.numpy()
    np.testing.assert_allclose(encoder.decode(encoder.encode(x_BD)), expected_BD, rtol=1e-4, atol=1e-4)


def test_half_precision_rows_are_encoded_in_float32(encoder: SparseEncoder) -> None:
    x_BD = torch.randn(20, D).bfloat16()
    assert np.array_equal(dense(encoder, x_BD), dense(encoder, x_BD.float()))


def test_weights_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        SparseEncoder(torch.zeros(D, F), torch.zeros(F), torch.zeros(F, D), torch.zeros(F), torch.zeros(F))


def test_folder_round_trip_has_every_mandatory_key(encoder: SparseEncoder) -> None:
    config, weights = config_json(encoder, METADATA), weights_safetensors(encoder)
    again = parse_weights(config, weights, "here")
    assert all(torch.equal(getattr(again, name), getattr(encoder, name)) for name in encoder.tensors())
    fields = json.loads(config)
    assert (fields["architecture"], fields["d_in"], fields["d_sae"]) == ("jumprelu", D, F)
    assert (fields["normalize_activations"], fields["reshape_activations"]) == ("none", "none")
    assert fields["metadata"].items() >= METADATA.items()
    assert {name: tuple(value.shape) for name, value in load(weights).items()} == {
        "W_enc": (D, F),
        "b_enc": (F,),
        "W_dec": (F, D),
        "b_dec": (D,),
        "threshold": (F,),
    }


@pytest.mark.parametrize(
    ("old", "new"), [(b'"jumprelu"', b'"standard"'), (b'"d_sae": 24', b'"d_sae": 25'), (b"{", b"")]
)
def test_config_of_another_kind_is_refused(encoder: SparseEncoder, old: bytes, new: bytes) -> None:
    config = config_json(encoder, METADATA).replace(old, new, 1)
    with pytest.raises(IntegrityError, match="here"):
        parse_weights(config, weights_safetensors(encoder), "here")


def publish(store: ObjectStore, encoder: SparseEncoder) -> DictionaryManifest:
    artifact = paths.dictionary("d", "1")
    manifest = DictionaryManifest(
        name="d",
        version="1",
        fit_id="0",
        spec={},
        architecture="batch_topk",
        target=autoencoder_target("resid_post.0", "h", D),
        d_in=D,
        d_out=D,
        num_latents=F,
        k=3,
        num_training_rows=1,
        metrics=ReconstructionMetrics(explained_variance=0, fvu=1, l0=0, dead_fraction=0, num_rows=1),
        files=[
            put_file(store, f"{artifact}/cfg.json", config_json(encoder, METADATA)),
            put_file(store, f"{artifact}/sae_weights.safetensors", weights_safetensors(encoder)),
        ],
        code_version="0",
    )
    return publish_manifest(store, artifact, manifest)


def test_load_by_reference(store: ObjectStore, encoder: SparseEncoder) -> None:
    manifest = publish(store, encoder)
    loaded, read = load_encoder(store, "d@1")
    assert read == manifest
    assert torch.equal(loaded.W_enc_DF, encoder.W_enc_DF)


def test_damaged_weights_are_refused(store: ObjectStore, encoder: SparseEncoder) -> None:
    key = publish(store, encoder).weights().key
    data = bytearray(store.get(key))
    data[-1] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(IntegrityError, match=key):
        load_encoder(store, "d@1")


def test_references_that_name_nothing(store: ObjectStore) -> None:
    with pytest.raises(SpecError):
        load_encoder(store, "d")
    with pytest.raises(MissingArtifactError):
        load_encoder(store, "d@1")


def test_explained_variance_equals_numpy_on_rows_with_a_large_mean(encoder: SparseEncoder) -> None:
    x_BD = torch.randn(700, D, generator=torch.Generator().manual_seed(3)) + 300
    x_hat_BD = x_BD + 0.3 * torch.randn(700, D, generator=torch.Generator().manual_seed(4))
    accumulator = ReconstructionAccumulator(D, F)
    num_codes, fired = 0, set()
    for part in (slice(0, 1), slice(1, 400), slice(400, 700)):
        codes = encoder.encode(x_BD[part] - 300)
        num_codes += codes.latents.numel()
        fired |= set(codes.latents.tolist())
        accumulator.add(x_BD[part], x_hat_BD[part], codes)
    metrics = accumulator.metrics()
    x, x_hat = x_BD.double().numpy(), x_hat_BD.double().numpy()
    expected = 1 - ((x - x_hat) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    assert metrics.explained_variance == pytest.approx(expected, abs=1e-12)
    assert metrics.fvu == pytest.approx(1 - expected, abs=1e-12)
    assert metrics.l0 == num_codes / 700
    assert metrics.dead_fraction == pytest.approx(1 - len(fired) / F)
    assert metrics.num_rows == 700
