"""Search: what a query means is the same on both databases, and hostile text is only text."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.releases import write_artifacts, write_dictionary, write_features, write_label_run
from thresher.catalog.database import open_catalog
from thresher.catalog.fulltext import words
from thresher.catalog.ingest import ingest_labels
from thresher.catalog.search import search
from thresher.contracts.errors import SpecError
from thresher.storage import open_store

LABELS = {
    0: "digits in dates",
    1: 'the word "dog" and its plurals',
    2: "Python def statements",
    3: "DIGITS: phone-numbers",
    4: "naïve Bayes, AND other operators",
    5: "snake_case identifiers; 3.14",
}


@pytest.fixture
def catalog(catalog_url, tmp_path):
    store = open_store(f"file://{tmp_path}/root")
    opened = open_catalog(catalog_url)
    ingest_labels(opened, store, write_artifacts(store, texts=LABELS).labels)
    yield opened
    opened.close()


def found(catalog, query: str) -> set[int]:
    return {item.feature for item in search(catalog, query, limit=100).features}


@pytest.mark.parametrize(
    ("query", "features"),
    [
        ("digits", {0, 3}),
        ("DiGiTs", {0, 3}),
        ("dig dat", {0}),
        ("dates digits", {0}),
        ("numbers", {3}),
        ("umbers", set()),
        ('"dog"', {1}),
        ('dog" OR "digits', set()),
        ("dog NOT plurals", set()),
        ("and", {1, 4}),
        ("the", {1}),
        ("naïve", {4}),
        ("case", {5}),
        ("snake_case", {5}),
        ("14", {5}),
        ("text:dog", set()),
        ("dog*", {1}),
        ("-dog", {1}),
        ("phone-numbers", {3}),
        ("'); DROP TABLE labels; --", set()),
    ],
)
def test_a_query_finds(catalog, query, features):
    assert found(catalog, query) == features


@pytest.mark.parametrize("query", ["", "   ", '"', "* & | ! ( ) <->", "'", "_", "\x00"])
def test_a_query_without_words_is_refused(catalog, query):
    with pytest.raises(SpecError, match="at least one word"):
        search(catalog, query)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_any_text_is_searched_or_refused_in_words(catalog, query):
    with contextlib.suppress(SpecError):
        search(catalog, query)


def test_words_are_split_at_every_mark():
    assert words("a_b-c.d 'e' Ünï 5%") == ["a", "b", "c", "d", "e", "Ünï", "5"]


def test_hits_carry_label_scores_and_density(catalog):
    [hit] = search(catalog, "python").features
    assert (hit.dictionary, hit.feature, hit.density) == ("tiny@1", 2, 0.003)
    assert hit.label is not None
    assert hit.label.text == LABELS[2]
    own, baseline = hit.label.scores
    assert (own.value, own.ci_low, own.ci_high) == pytest.approx((0.62, 0.52, 0.72))
    assert (own.shuffled, baseline.shuffled) == (False, True)


def test_pages_cover_all_hits_once(catalog):
    pages = [search(catalog, "digits", limit=1, offset=offset) for offset in range(3)]
    assert [page.total for page in pages] == [2, 2, 2]
    assert sorted(item.feature for page in pages for item in page.features) == [0, 3]
    assert pages[2].features == ()


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (1001, 0), (1, -1)])
def test_a_page_that_cannot_be_is_refused(catalog, limit, offset):
    with pytest.raises(SpecError):
        search(catalog, "digits", limit=limit, offset=offset)


def test_one_dictionary_alone(catalog, tmp_path):
    store = open_store(f"file://{tmp_path}/root")
    features = write_features(store, write_dictionary(store, version="2", seed=2))
    ingest_labels(catalog, store, write_label_run(store, features, texts={7: "digits elsewhere"}))
    assert found(catalog, "digits") == {0, 3, 7}
    assert [item.feature for item in search(catalog, "digits", dictionary="tiny@2").features] == [7]
    assert search(catalog, "digits", dictionary="tiny@2").total == 1
