"""A night from the command to the catalog."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fixtures.exemplars import CORPUS_ID, NAME, RULES, VERSION
from fixtures.nights import PLANTED_KEY, read_table
from fixtures.targets import autoencoder_target
from thresher.catalog import open_catalog
from thresher.catalog.browse import list_dictionaries, list_features
from thresher.catalog.rebuild import rebuild
from thresher.catalog.tables import events
from thresher.contracts import paths
from thresher.contracts.manifests import DictionaryManifest, FeaturesManifest, FileEntry
from thresher.pipelines.job import main
from thresher.storage import ObjectStore
from thresher.storage.artifacts import publish_manifest, put_file, read_record, record_bytes


@pytest.fixture
def planted_dictionary(planted_store: ObjectStore) -> ObjectStore:
    """The planted store as a catalog needs it: with the dictionary's manifest and the edges of the histograms."""
    features = read_record(planted_store, PLANTED_KEY, FeaturesManifest)
    table = read_table(planted_store, features.stats).replace_schema_metadata(
        {"histogram_edges": "[0.0, 1.0]"}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    stats = put_file(planted_store, features.stats.key, sink.getvalue().to_pybytes())
    planted_store.put(PLANTED_KEY, record_bytes(features.model_copy(update={"stats": stats})))
    artifact = paths.dictionary(NAME, VERSION)
    manifest = DictionaryManifest(
        name=NAME,
        version=VERSION,
        fit_id="fit",
        spec={},
        architecture="topk",
        target=autoencoder_target("resid_post.1", "h" * 16, 8),
        d_in=8,
        d_out=8,
        num_latents=features.num_latents,
        k=4,
        num_training_rows=1,
        metrics=None,
        files=[
            FileEntry(
                key=f"{artifact}/sae_weights.safetensors",
                size=1,
                sha256=features.dictionary.weights_sha256,
            )
        ],
        code_version="test",
    )
    publish_manifest(planted_store, artifact, manifest)
    return planted_store


def test_a_night_ends_in_the_catalog_and_comes_back_from_storage(
    planted_dictionary, nightly_spec, tmp_path, monkeypatch, capsys
) -> None:
    url = f"sqlite:///{tmp_path}/catalog.sqlite"
    monkeypatch.setenv("THRESHER_CATALOG", url)
    file = tmp_path / "nightly.yaml"
    file.write_text(yaml.safe_dump(nightly_spec().model_dump(mode="json")))
    assert main("nightly", [str(file)]) == 0

    printed = capsys.readouterr()
    night_id = printed.out.strip()
    assert f"# Night {night_id}" in printed.err
    catalog = open_catalog(url)
    [dictionary] = list_dictionaries(catalog)
    assert dictionary.num_labelled == len(RULES)
    features_id = dictionary.feature_sets[0].features_id
    texts = {
        item.feature: item.label.text
        for item in list_features(catalog, features_id).features
        if item.label is not None
    }
    assert texts == {latent: rule.name for latent, rule in RULES.items()}

    def night_events() -> list:
        with catalog.read() as connection:
            return connection.execute(events.select()).all()

    before = night_events()
    assert [event.night_id for event in before] == [night_id]
    rebuild(catalog, planted_dictionary)
    assert night_events() == before
    assert dictionary.feature_sets[0].corpus_id == CORPUS_ID


def test_a_night_that_could_not_go_on_exits_with_one(
    planted_store, nightly_spec, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("THRESHER_CATALOG", f"sqlite:///{tmp_path}/catalog.sqlite")
    spec = nightly_spec(label={"endpoint": {"base_url": "http://127.0.0.1:9/v1", "max_retries": 0}})
    file = tmp_path / "nightly.yaml"
    file.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    assert main("nightly", [str(file)]) == 1
    assert "could not go on" in capsys.readouterr().err
