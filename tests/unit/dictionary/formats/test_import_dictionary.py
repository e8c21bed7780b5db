"""Every format on its way in, through the store, and out again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.dense_codes import dense_codes
from fixtures.foreign_dictionaries import ForeignFolder, foreign_folders, rows
from thresher.contracts.errors import AlreadyExistsError, SpecError
from thresher.dictionary.formats.export_dictionary import export_dictionary
from thresher.dictionary.formats.import_dictionary import import_dictionary
from thresher.dictionary.formats.known import READERS
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import load_encoder
from thresher.storage import open_store

CASES = foreign_folders()
SITES = {
    "autoencoder": {"site": "resid_post.3"},
    "transcoder": {"site": "mlp_in.3", "output_site": "mlp_out.3"},
}


def spec_of(tmp_path: Path, case: ForeignFolder, **changes: object) -> ImportDictionarySpec:
    folder = tmp_path / "source" / case.folder
    if not folder.exists():
        case.write(tmp_path / "source")
    return ImportDictionarySpec.parse(
        {
            "root": (tmp_path / "store").as_uri(),
            "name": "foreign",
            "source": {"format": case.format, "path": str(folder)},
            **SITES[case.kind],
            **changes,
        }
    )


def assert_computes(encoder: SparseEncoder, case: ForeignFolder) -> None:
    x_BD = rows()
    expected_BF = case.codes(x_BD)
    assert 0.02 < (expected_BF > 0).mean() < 0.8
    codes_BF = dense_codes(encoder, x_BD)
    np.testing.assert_array_equal(codes_BF > 0, expected_BF > 0)
    np.testing.assert_allclose(codes_BF, expected_BF, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(
        encoder.reconstruct(torch.from_numpy(x_BD)), case.reconstruct(x_BD), rtol=1e-4, atol=2e-4
    )


@pytest.mark.parametrize("name", CASES)
def test_an_imported_dictionary_computes_what_it_did(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    spec = spec_of(tmp_path, case)
    manifest = import_dictionary(spec)
    encoder, stored = load_encoder(open_store(spec.root), "foreign@1")
    assert stored == manifest
    assert_computes(encoder, case)
    assert manifest.site == "->".join(SITES[case.kind].values())
    assert manifest.origin is not None
    assert {file.name for file in manifest.origin.files} == set(case.files)
    assert manifest.origin.format == case.format
    assert (manifest.metrics, manifest.harvest_ids) == (None, [])


EXPORTS = [
    (name, target)
    for name, case in CASES.items()
    for target in ("saelens", "sparsify", "dictionary_learning", "thresher")
]


@pytest.mark.parametrize(("name", "target"), EXPORTS, ids=[f"{name}-to-{target}" for name, target in EXPORTS])
def test_what_is_exported_is_read_again_as_it_was_or_refused_with_another_format(
    name: str, target: str, tmp_path: Path
) -> None:
    case = CASES[name]
    spec = spec_of(tmp_path, case)
    import_dictionary(spec)
    encoder, _ = load_encoder(open_store(spec.root), "foreign@1")
    is_expressible = {
        "saelens": encoder.k is None or case.kind == "autoencoder",
        "sparsify": encoder.k is not None and encoder.d_in == encoder.d_out,
        "dictionary_learning": case.kind == "autoencoder",
        "thresher": True,
    }[target]
    out = tmp_path / "out"
    if not is_expressible:
        with pytest.raises(SpecError, match=r"--format.*Allowed") as error:
            export_dictionary(spec.root, "foreign@1", target, str(out))
        assert target not in error.value.allowed
        assert not out.exists()
        return
    urls = export_dictionary(spec.root, "foreign@1", target, str(out))
    [folder] = {str(Path(url.removeprefix("file://")).parent) for url in urls}
    assert_computes(READERS[target](SourceFolder(folder)).encoder, case)
    with pytest.raises(SpecError, match="there already"):
        export_dictionary(spec.root, "foreign@1", target, str(out))


def test_an_import_is_found_again_and_another_gets_a_version_of_its_own(tmp_path: Path) -> None:
    first = import_dictionary(spec_of(tmp_path, CASES["saelens-jumprelu"]))
    again = spec_of(tmp_path, CASES["saelens-jumprelu"])
    assert import_dictionary(again) == first
    (tmp_path / "source").rename(tmp_path / "before")
    other = spec_of(tmp_path, CASES["saelens-standard"])
    assert import_dictionary(other).version == "2"
    with pytest.raises(AlreadyExistsError, match="version 3"):
        import_dictionary(other.model_copy(update={"version": "1"}))


def test_what_the_folder_says_need_not_be_given(tmp_path: Path) -> None:
    case = CASES["saelens-jumprelu_transcoder"]
    spec = spec_of(tmp_path, case, site=None, output_site=None)
    import_dictionary(spec)
    store = open_store(spec.root)
    _, manifest = load_encoder(store, "foreign@1")
    assert manifest.site == "mlp_in.3->mlp_out.3"
    config = store.get("dictionaries/foreign/1/cfg.json").decode()
    for said in ('"model_name": "tiny"', '"context_size": 16', '"hook_name_out": "blocks.3.hook_mlp_out"'):
        assert said in config


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("dictionary_learning-AutoEncoder", {"site": None}, "site: .*does not say what it reads"),
        ("gemma_scope-transcoder", {"output_site": None}, "output_site: .*give the site that it writes"),
        ("saelens-standard", {"output_site": "mlp_out.3"}, "output_site: .*autoencoder"),
        ("saelens-standard", {"harvest": "nowhere"}, "nowhere"),
    ],
)
def test_sites_that_do_not_fit_are_refused(
    name: str, changes: dict[str, object], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=fault):
        import_dictionary(spec_of(tmp_path, CASES[name], **changes))
    assert not (tmp_path / "store" / "dictionaries").exists()


def test_gemma_scope_is_a_transcoder_where_an_output_site_is_given(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, CASES["gemma_scope-autoencoder"], site="mlp_in.3", output_site="mlp_out.3")
    import_dictionary(spec)
    config = open_store(spec.root).get("dictionaries/foreign/1/cfg.json")
    assert b'"architecture": "jumprelu_transcoder"' in config
