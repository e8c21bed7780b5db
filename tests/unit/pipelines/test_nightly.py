"""A night from the command to the catalog."""

import yaml

from fixtures.exemplars import CORPUS_ID, RULES
from thresher.catalog import open_catalog
from thresher.catalog.browse import list_dictionaries, list_features
from thresher.catalog.rebuild import rebuild
from thresher.catalog.tables import events
from thresher.pipelines.job import main


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
