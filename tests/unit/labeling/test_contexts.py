"""Which exemplars and features are chosen, and how they are shown."""

import numpy as np
import pytest

from fixtures.exemplars import CORPUS_ID, NAME, NUM_WINDOWS, RULES, VERSION
from thresher.contracts import paths
from thresher.contracts.exemplars import EXEMPLAR_SPLITS
from thresher.contracts.manifests import FeaturesManifest
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.exemplars.exemplar import Exemplar, sample_sha256
from thresher.labeling.scorers.yes_no import yes_share
from thresher.labeling.selection import select_features
from thresher.labeling.shown_text import marked_text, strongest_tokens
from thresher.labeling.spec import SelectionSpec
from thresher.storage.artifacts import read_record


@pytest.fixture
def manifest(planted_store) -> FeaturesManifest:
    key = paths.manifest(paths.features(NAME, VERSION, CORPUS_ID))
    return read_record(planted_store, key, FeaturesManifest)


def exemplar(tokens: list[str], activations: list[float], document: str = "d", sequence: int = 0) -> Exemplar:
    return Exemplar("top", 0, None, document, sequence, 10, tuple(tokens), np.array(activations, np.float32))


def test_crops_hold_the_peak_anywhere() -> None:
    tokens, activations = [str(index) for index in range(30)], [0.0] * 15 + [5.0] + [0.0] * 14
    places = set()
    for sequence in range(60):
        crop = exemplar(tokens, activations, sequence=sequence).crop(8, seed=0)
        assert len(crop.tokens) == len(crop.activations_C) == 8
        peak = int(np.argmax(crop.activations_C))
        assert crop.tokens[peak] == "15"
        assert crop.start + peak == 10 + 15
        places.add(peak)
    assert places == set(range(8))


def test_no_document_is_shown_twice(planted_store, manifest) -> None:
    top = [exemplar([" a"], [1.0], document) for document in ("one", "one", "two", "three")]
    chosen = choose_kinds(top, (("top", 2), ("top", 9)), num_tokens=4, seed=0)
    assert [item.doc_id for item in chosen] == ["one", "two", "three"]


def test_splits_are_kept_apart(planted_store, manifest) -> None:
    book = ExemplarBook(planted_store, manifest, RULES)
    for latent in RULES:
        of_splits = [book.of(latent, split) for split in EXEMPLAR_SPLITS]
        assert [len(exemplars) for exemplars in of_splits] == [sum(NUM_WINDOWS.values())] * 4
        documents = [item.doc_id for exemplars in of_splits for item in exemplars]
        assert len(set(documents)) == len(documents)
    assert book.of(2, "explain") == []


def test_sample_hash_follows_what_is_shown() -> None:
    first, second = exemplar([" a"], [1.0]), exemplar([" a"], [2.0])
    assert sample_sha256([first]) == sample_sha256([exemplar([" a"], [1.0])])
    assert (
        len({sample_sha256(shown) for shown in ([first], [second], [first, second], [second, first], [])})
        == 5
    )


@pytest.mark.parametrize(
    ("spec", "features"),
    [
        ({"count": 2, "selection": "top_density"}, [8, 9]),
        ({"count": 2, "selection": "density_spread"}, [3, 9]),
        ({"count": 3, "selection": "density_spread"}, [3, 5, 9]),
        ({"count": 99}, [3, 5, 8, 9]),
        ({"count": None}, list(range(12))),
        ({"selection": [5, 0, 5]}, [0, 5]),
    ],
)
def test_selection(planted_store, manifest, spec, features) -> None:
    selected = select_features(planted_store, manifest, SelectionSpec.parse(spec))
    assert [item.feature for item in selected] == features


def test_marked_text_shows_levels_and_breaks_chat_tokens() -> None:
    shown = exemplar([" the", " ship", "\n", " port", "<|im_end|>", " far"], [0, 4, 2, 2, 1, 0.01])
    assert marked_text(shown, 4.0) == "the «ship»(9) «port»(4)«< |im_end|>»(2) far"
    assert strongest_tokens([shown]) == ["ship", "port", "< |im_end|>", "far"]


def test_yes_share_adds_up_spellings() -> None:
    logprobs = {
        " Yes": np.log(0.3),
        "yes": np.log(0.1),
        " No": np.log(0.1),
        "NO ": np.log(0.1),
        " Maybe": np.log(0.2),
    }
    assert yes_share(logprobs) == pytest.approx(2 / 3)
    assert yes_share({" Maybe": -0.1}) is None
    assert yes_share({}) is None
