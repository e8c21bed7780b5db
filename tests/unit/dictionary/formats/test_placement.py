"""Sites, widths and scales of what is imported, with and without a harvest."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.foreign_dictionaries import D, E, F, foreign_folders, weights
from fixtures.harvests import MODEL, write_harvest
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import ModelIdentity
from thresher.dictionary.formats import import_dictionary as importing
from thresher.dictionary.formats.export_dictionary import export_dictionary
from thresher.dictionary.formats.import_dictionary import import_dictionary
from thresher.dictionary.formats.rewriting import centred, uncentred, with_decoder_norms_in_codes
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import SiteBlock, config_json
from thresher.latents.weights import load_encoder, weights_safetensors
from thresher.storage import ObjectStore, open_store

CASES = foreign_folders()
NUM_SEQUENCES, LENGTH = 12, 16


def spec_of(root: str, folder: Path, format_name: str, **changes: object) -> ImportDictionarySpec:
    source = {"format": format_name, "path": str(folder)}
    return ImportDictionarySpec.parse({"root": root, "name": "foreign", "source": source, **changes})


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


def harvested(store: ObjectStore, **widths: int) -> dict[str, np.ndarray]:
    """A harvest of random rows of sites of these widths."""
    rng = np.random.default_rng(0)
    x_by_site = {
        name.replace("__", "."): rng.standard_normal((NUM_SEQUENCES * LENGTH, width)).astype(np.float32)
        for name, width in widths.items()
    }
    model = MODEL.model_copy(update={"num_layers": 6})
    write_harvest(store, x_by_site, sequence_length=LENGTH, splits={"fit": 8, "report": 4}, model=model)
    return x_by_site


def held_out(x_by_site: dict[str, np.ndarray], site: str) -> np.ndarray:
    """Rows of the report split but for the first position of each sequence, rounded as they are stored."""
    x_SLD = x_by_site[site].reshape(NUM_SEQUENCES, LENGTH, -1)[8:, 1:]
    return x_SLD.reshape(4 * (LENGTH - 1), -1).astype(np.float16).astype(np.float64)


def unexplained(y_BE: np.ndarray, y_hat_BE: np.ndarray) -> float:
    return float(((y_BE - y_hat_BE) ** 2).sum() / ((y_BE - y_BE.mean(axis=0)) ** 2).sum())


def test_quality_is_measured_on_a_harvest(store: ObjectStore, tmp_path: Path) -> None:
    x_by_site = harvested(store, resid_post__3=D)
    case = CASES["saelens-jumprelu"]
    folder = case.write(tmp_path)
    manifest = import_dictionary(spec_of(store.url, folder, "saelens", harvest="harvest"))
    x_BD = held_out(x_by_site, "resid_post.3")
    assert manifest.metrics is not None
    assert manifest.metrics.num_rows == len(x_BD)
    assert manifest.metrics.l0 == pytest.approx((case.codes(x_BD) > 0).sum(axis=1).mean())
    assert manifest.metrics.fvu == pytest.approx(unexplained(x_BD, case.reconstruct(x_BD)), rel=1e-5)
    assert manifest.harvest_ids == ["harvest"]


def test_quality_of_a_transcoder_is_of_its_output(store: ObjectStore, tmp_path: Path) -> None:
    x_by_site = harvested(store, mlp_in__3=D, text__3=E)
    case = CASES["saelens-jumprelu_skip_transcoder"]
    spec = spec_of(store.url, case.write(tmp_path), "saelens", harvest="harvest", output_site="text.3")
    manifest = import_dictionary(spec)
    y_hat_BE = case.reconstruct(held_out(x_by_site, "mlp_in.3"))
    assert manifest.metrics is not None
    assert manifest.metrics.fvu == pytest.approx(
        unexplained(held_out(x_by_site, "text.3"), y_hat_BE), rel=1e-5
    )


@pytest.mark.parametrize(
    ("widths", "fault"),
    [
        ({"resid_post__3": D + 2}, "10 wide, and the dictionary has 8"),
        ({"resid_post__4": D}, "site: .*resid_post.4"),
    ],
)
def test_a_harvest_of_another_width_or_site_is_refused(
    store: ObjectStore, widths: dict[str, int], fault: str, tmp_path: Path
) -> None:
    harvested(store, **widths)
    folder = CASES["saelens-jumprelu"].write(tmp_path)
    with pytest.raises(SpecError, match=fault):
        import_dictionary(spec_of(store.url, folder, "saelens", harvest="harvest"))
    assert list(store.list("dictionaries/")) == []


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        ({"d_model": D, "num_layers": 4}, None),
        ({"d_model": D + 1, "num_layers": 4}, "9 values wide there"),
        ({"d_model": D, "num_layers": 3}, "layers 0 to 2"),
    ],
)
def test_a_model_of_another_shape_is_refused(
    store: ObjectStore,
    shape: dict[str, int],
    fault: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = ModelIdentity(
        name="m", architecture="a", weights_sha256="w", config_sha256="c", tokenizer_sha256="t", **shape
    )
    monkeypatch.setattr(importing, "identify_model", lambda folder: model)
    spec = spec_of(store.url, CASES["saelens-jumprelu"].write(tmp_path), "saelens", model="/m")
    if fault is None:
        import_dictionary(spec)
        assert b'"model_weights_sha256": "w"' in store.get("dictionaries/foreign/1/cfg.json")
        return
    with pytest.raises(SpecError, match=fault):
        import_dictionary(spec)


def test_a_scaled_input_is_folded_once_its_scale_is_known(store: ObjectStore, tmp_path: Path) -> None:
    case = CASES["saelens-jumprelu"]
    folder = case.write(tmp_path)
    config = json.loads(case.files["cfg.json"]) | {"normalize_activations": "expected_average_only_in"}
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match=r"source.input_scale: .*mean norm"):
        import_dictionary(spec_of(store.url, folder, "saelens"))
    source = {"format": "saelens", "path": str(folder), "input_scale": 0.25}
    import_dictionary(spec_of(store.url, folder, "saelens", source=source))
    encoder, _ = load_encoder(store, "foreign@1")
    x_BD = np.random.default_rng(1).standard_normal((50, D))
    np.testing.assert_allclose(
        encoder.reconstruct(torch.from_numpy(x_BD / 0.25)),
        case.reconstruct(x_BD) / 0.25,
        rtol=1e-4,
        atol=1e-3,
    )


BLOCKS = (SiteBlock("image.3", 3), SiteBlock("text.5", 5))


def crosscoder(k: int | None) -> SparseEncoder:
    w = {name: torch.from_numpy(value) for name, value in weights().items()}
    threshold_F = torch.zeros(F) if k else torch.full((F,), 0.5)
    return SparseEncoder(
        w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"], threshold_F, k=k, centres_input=False
    )


@pytest.mark.parametrize("k", [None, 4])
def test_a_crosscoder_comes_and_goes_in_our_own_format(
    k: int | None, store: ObjectStore, tmp_path: Path
) -> None:
    x_by_site = harvested(store, image__3=3, text__5=5)
    encoder, folder = crosscoder(k), tmp_path / "folder"
    folder.mkdir()
    metadata = {"model_name": "tiny", "hook_name": "x", "context_size": 16, "prepend_bos": True}
    (folder / "cfg.json").write_bytes(config_json(encoder, metadata, "crosscoder", BLOCKS))
    (folder / "sae_weights.safetensors").write_bytes(weights_safetensors(encoder))
    manifest = import_dictionary(spec_of(store.url, folder, "thresher", harvest="harvest"))
    loaded, _ = load_encoder(store, "foreign@1")
    assert all(torch.equal(loaded.tensors()[name], tensor) for name, tensor in encoder.tensors().items())
    assert (manifest.site, loaded.k) == ("image.3+text.5", k)
    x_BD = np.concatenate([held_out(x_by_site, block.name) for block in BLOCKS], axis=1)
    y_hat_BD = encoder.reconstruct(torch.from_numpy(x_BD)).numpy()
    assert manifest.metrics is not None
    assert manifest.metrics.fvu == pytest.approx(unexplained(x_BD, y_hat_BD), rel=1e-5)
    export_dictionary(store.url, "foreign@1", "thresher", str(tmp_path / "out"))
    again = import_dictionary(spec_of(store.url, tmp_path / "out", "thresher", name="again"))
    assert again.weights().sha256 == manifest.weights().sha256
    for target in ("saelens", "sparsify", "dictionary_learning"):
        with pytest.raises(SpecError, match="thresher"):
            export_dictionary(store.url, "foreign@1", target, None)
    with pytest.raises(SpecError, match="names its sites"):
        import_dictionary(spec_of(store.url, folder, "thresher", name="third", site="resid_post.3"))


def test_an_export_without_a_destination_lies_under_the_root(store: ObjectStore, tmp_path: Path) -> None:
    import_dictionary(spec_of(store.url, CASES["sparsify-topk"].write(tmp_path), "sparsify"))
    urls = export_dictionary(store.url, "foreign@1", "sparsify")
    assert urls == [
        f"{store.url}/exports/sparsify/foreign/1/layers.3/{name}" for name in ("cfg.json", "sae.safetensors")
    ]
    with pytest.raises(SpecError, match="--format"):
        export_dictionary(store.url, "foreign@1", "gemma_scope")


def test_rewriting_keeps_what_is_computed() -> None:
    encoder = crosscoder(None)
    x_BD = torch.randn(40, D, generator=torch.Generator().manual_seed(0))
    expected_BD = encoder.reconstruct(x_BD)
    for same in (centred(encoder), uncentred(centred(encoder))):
        torch.testing.assert_close(same.reconstruct(x_BD), expected_BD, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            same.encode(x_BD).values, encoder.encode(x_BD).values, rtol=1e-4, atol=1e-4
        )
    unit = with_decoder_norms_in_codes(encoder, scale_threshold=True)
    torch.testing.assert_close(unit.W_dec_FE.norm(dim=1), torch.ones(F))
    torch.testing.assert_close(unit.reconstruct(x_BD), expected_BD, rtol=1e-4, atol=1e-4)
    assert torch.equal(unit.encode(x_BD).latents, encoder.encode(x_BD).latents)


@pytest.mark.parametrize("k", [None, 4])
def test_the_code_of_the_documentation_reads_a_crosscoder(k: int | None, tmp_path: Path) -> None:
    encoder = crosscoder(k)
    (tmp_path / "cfg.json").write_bytes(config_json(encoder, {}, "crosscoder", BLOCKS))
    (tmp_path / "sae_weights.safetensors").write_bytes(weights_safetensors(encoder))
    text = (Path(__file__).parents[4] / "docs" / "formats.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    x_BD = np.random.default_rng(0).standard_normal((30, D)).astype(np.float32)
    names: dict[str, object] = {"folder": tmp_path, "rows": {"image.3": x_BD[:, :3], "text.5": x_BD[:, 3:]}}
    exec(code, names)
    y_hat_BD = np.concatenate(names["reconstructions"], axis=1)
    np.testing.assert_allclose(y_hat_BD, encoder.reconstruct(torch.from_numpy(x_BD)), rtol=1e-4, atol=1e-4)
    assert [part.shape[1] for part in names["reconstructions"]] == [3, 5]
