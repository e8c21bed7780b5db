import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from fixtures.targets import autoencoder_target
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, MissingArtifactError, SpecError
from thresher.contracts.manifests import DictionaryManifest, ReconstructionMetrics
from thresher.latents import encoder as encoder_module
from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import DictionaryKind, SiteBlock, config_json, parse_config
from thresher.latents.reconstruction import ReconstructionAccumulator
from thresher.latents.weights import load_encoder, parse_weights, weights_safetensors
from thresher.storage import ObjectStore
from thresher.storage.artifacts import publish_manifest, put_file

D, E, F, K = 10, 6, 24, 4
METADATA = {
    "model_name": "tiny",
    "hook_name": "blocks.0.hook_resid_post",
    "context_size": 8,
    "prepend_bos": True,
}


def make_encoder(d_out: int = D, **form: object) -> SparseEncoder:
    generator = torch.Generator().manual_seed(1)
    shapes = {"W_enc_DF": (D, F), "b_enc_F": (F,), "W_dec_FE": (F, d_out), "b_dec_E": (d_out,)}
    tensors = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    threshold_F = torch.zeros(F) if "k" in form else torch.rand(F, generator=generator) * 4 - 0.5
    return SparseEncoder(**tensors, threshold_F=threshold_F, **form)


SKIP_DD, SKIP_DE = (torch.randn(D, width, generator=torch.Generator().manual_seed(7)) for width in (D, E))
BLOCKS = (SiteBlock("resid_post.3", 4), SiteBlock("other/resid_post.3", 6))
FORMS: dict[str, tuple[SparseEncoder, DictionaryKind, str]] = {
    "jumprelu": (make_encoder(), "autoencoder", "jumprelu"),
    "uncentred": (make_encoder(centres_input=False), "autoencoder", "jumprelu"),
    "topk": (make_encoder(k=K), "autoencoder", "topk"),
    "transcoder": (make_encoder(E, centres_input=False), "transcoder", "jumprelu_transcoder"),
    "skip_transcoder": (
        make_encoder(E, centres_input=False, W_skip_DE=SKIP_DE),
        "transcoder",
        "jumprelu_skip_transcoder",
    ),
    "topk_transcoder": (
        make_encoder(E, centres_input=False, k=K),
        "transcoder",
        "thresher_topk_transcoder",
    ),
    "topk_skip_transcoder": (
        make_encoder(centres_input=False, k=K, W_skip_DE=SKIP_DD),
        "transcoder",
        "thresher_topk_transcoder",
    ),
    "crosscoder": (make_encoder(centres_input=False), "crosscoder", "thresher_crosscoder"),
    "topk_crosscoder": (make_encoder(centres_input=False, k=K), "crosscoder", "thresher_crosscoder"),
}


def config_of(form: str) -> bytes:
    encoder, kind, _ = FORMS[form]
    return config_json(encoder, METADATA, kind, BLOCKS if kind == "crosscoder" else ())


@pytest.fixture
def encoder() -> SparseEncoder:
    return make_encoder()


def reference_codes(encoder: SparseEncoder, x_BD: np.ndarray) -> np.ndarray:
    """Both forms in float64, row by row."""
    centre = encoder.b_dec_E.numpy() if encoder.centres_input else 0
    z_BF = (x_BD - centre) @ encoder.W_enc_DF.double().numpy() + encoder.b_enc_F.numpy()
    if encoder.k is None:
        return np.where(z_BF > np.maximum(encoder.threshold_F.numpy(), 0), z_BF, 0)
    codes_BF = np.zeros_like(z_BF)
    for z_F, codes_F in zip(z_BF, codes_BF, strict=True):
        chosen = np.argsort(z_F)[-encoder.k :]
        codes_F[chosen] = np.maximum(z_F[chosen], 0)
    return codes_BF


def dense(encoder: SparseEncoder, x_BD: torch.Tensor) -> np.ndarray:
    codes = encoder.encode(x_BD)
    codes_BF = np.zeros((codes.num_rows, encoder.num_latents))
    codes_BF[codes.row_of_code(), codes.latents] = codes.values
    return codes_BF


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece_rows", [1, 7, 1000])
def test_codes_and_reconstructions_are_those_of_the_form_whatever_the_pieces(
    form: str, piece_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _, _ = FORMS[form]
    monkeypatch.setattr(encoder_module, "MAX_PREACTIVATIONS", piece_rows * F)
    x_BD = torch.randn(50, D, generator=torch.Generator().manual_seed(2))
    expected_BF = reference_codes(encoder, x_BD.double().numpy())
    np.testing.assert_allclose(dense(encoder, x_BD), expected_BF, rtol=1e-5, atol=1e-5)
    assert 0.05 < (expected_BF > 0).mean() < 0.8
    expected_BE = expected_BF @ encoder.W_dec_FE.double().numpy() + encoder.b_dec_E.numpy()
    if encoder.W_skip_DE is not None:
        expected_BE += x_BD.double().numpy() @ encoder.W_skip_DE.double().numpy()
    np.testing.assert_allclose(encoder.reconstruct(x_BD), expected_BE, rtol=1e-4, atol=1e-4)
    latents = encoder.encode(x_BD).latents.numpy()
    rows = encoder.encode(x_BD).row_of_code().numpy()
    assert np.all(np.diff(rows * F + latents) > 0), "ascending in each row"


def test_a_row_without_k_positive_latents_has_fewer_codes() -> None:
    encoder = replace(make_encoder(k=K), b_enc_F=torch.tensor([1.0, 2.0] + [-1e3] * (F - 2)))
    codes = encoder.encode(torch.zeros(3, D) + encoder.b_dec_E)
    assert codes.row_offsets.tolist() == [0, 2, 4, 6]
    assert codes.latents.tolist() == [0, 1] * 3
    assert torch.equal(codes.values, torch.tensor([1.0, 2.0] * 3))


def test_half_precision_rows_are_encoded_in_float32(encoder: SparseEncoder) -> None:
    x_BD = torch.randn(20, D).bfloat16()
    assert np.array_equal(dense(encoder, x_BD), dense(encoder, x_BD.float()))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"b_dec_E": torch.zeros(F)}, "do not fit an encoder"),
        ({"W_skip_DE": torch.zeros(D, E)}, "skip connection"),
        ({"W_dec_FE": torch.zeros(F, E), "b_dec_E": torch.zeros(E)}, "cannot be centred"),
        ({"k": 0}, "k is 0"),
        ({"k": F + 1}, "k is 25"),
    ],
)
def test_weights_that_do_not_fit_each_other_are_refused(
    encoder: SparseEncoder, changes: dict[str, object], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        replace(encoder, **changes)


@pytest.mark.parametrize("form", FORMS)
def test_folder_round_trip_has_every_mandatory_key(form: str) -> None:
    encoder, kind, architecture = FORMS[form]
    config, weights = config_of(form), weights_safetensors(encoder)
    again = parse_weights(config, weights, "here")
    assert again.tensors().keys() == encoder.tensors().keys()
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in encoder.tensors().items())
    assert (again.k, again.centres_input) == (encoder.k, encoder.centres_input)
    fields = json.loads(config)
    assert (fields["architecture"], fields["d_in"], fields["d_sae"]) == (architecture, D, F)
    assert (fields["normalize_activations"], fields["reshape_activations"]) == ("none", "none")
    assert fields["metadata"].items() >= METADATA.items()
    parsed = parse_config(config)
    assert (parsed.kind, parsed.blocks) == (kind, BLOCKS if kind == "crosscoder" else ())
    shapes = {"W_enc": (D, F), "b_enc": (F,), "W_dec": (F, encoder.d_out), "b_dec": (encoder.d_out,)}
    shapes |= {"threshold": (F,)} if encoder.k is None else {}
    shapes |= {"W_skip": (encoder.d_out, D)} if encoder.W_skip_DE is not None else {}
    assert {name: tuple(value.shape) for name, value in load(weights).items()} == shapes


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("jumprelu", {"architecture": "standard"}),
        ("jumprelu", {"architecture": "topk", "k": K}),
        ("jumprelu", {"architecture": None}),
        ("jumprelu", {"d_sae": 25}),
        ("jumprelu", {"d_in": "ten"}),
        ("jumprelu", {"dtype": "bfloat16"}),
        ("jumprelu", {"normalize_activations": "layer_norm"}),
        ("jumprelu", {"apply_b_dec_to_input": None}),
        ("topk", {"k": 0}),
        ("topk", {"k": F + 1}),
        ("topk", {"k": True}),
        ("topk", {"rescale_acts_by_decoder_norm": True}),
        ("transcoder", {"d_out": E + 1}),
        ("transcoder", {"apply_b_dec_to_input": True}),
        ("transcoder", {"architecture": "jumprelu_skip_transcoder"}),
        ("topk_transcoder", {"format_version": 2}),
        ("crosscoder", {"sites": [{"name": "resid_post.3", "width": D + 1}]}),
        ("crosscoder", {"sites": None}),
        ("crosscoder", {"k": K}),
    ],
)
def test_config_that_does_not_fit_is_refused(form: str, changes: dict[str, object]) -> None:
    fields = json.loads(config_of(form)) | changes
    with pytest.raises(IntegrityError, match="here"):
        parse_weights(json.dumps(fields).encode(), weights_safetensors(FORMS[form][0]), "here")


@pytest.mark.parametrize("config", [b"", b"[]", b"{", b'{"architecture": ["jumprelu"]}'])
def test_config_that_is_no_mapping_is_refused(config: bytes) -> None:
    with pytest.raises(IntegrityError, match="here"):
        parse_weights(config, weights_safetensors(make_encoder()), "here")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"W_enc": torch.full((D, F), torch.nan)}, "not finite"),
        ({"threshold": torch.full((F,), torch.inf)}, "not finite"),
        ({"W_enc": torch.zeros(F, D)}, "shape"),
        ({"b_dec": torch.zeros(D, dtype=torch.float64)}, "float64"),
        ({"W_skip": torch.zeros(D, D)}, "W_skip"),
        ({"b_enc": None}, "asks for"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes: dict[str, torch.Tensor | None], fault: str) -> None:
    tensors = load(weights_safetensors(make_encoder())) | changes
    data = save({name: tensor for name, tensor in tensors.items() if tensor is not None})
    with pytest.raises(IntegrityError, match=fault):
        parse_weights(config_of("jumprelu"), data, "here")


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
