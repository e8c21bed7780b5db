"""Links against a brute-force comparison of all pairs, and families against what was planted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from thresher.labeling.families.feature_evidence import FeatureEvidence
from thresher.labeling.families.grouping import text_families
from thresher.labeling.families.links import KINDS, Linker, Links
from thresher.labeling.families.near_rows import candidate_pairs, row_products, unit_rows
from thresher.labeling.families.spec import FamilyOptions
from thresher.labeling.families.text_similarity import TextSimilarity
from thresher.labeling.families.texts import normalised

TEXT = (
    "names countries digits dates verbs past tense words sea brackets code colours months python functions negation "
    "quotes citations units money people places plural nouns questions sports music law medicine weather"
)
WORDS = TEXT.split()


def random_labels(rng: np.random.Generator, count: int) -> list[str]:
    return [" of ".join(rng.choice(WORDS, rng.integers(1, 4), replace=False)) for _ in range(count)]


def random_evidence(rng: np.random.Generator, count: int, *, weights: bool = True) -> FeatureEvidence:
    """Features of 40 groups with near decoder rows and shared windows."""
    group = rng.integers(0, 40, count)
    rows = rng.normal(size=(40, 16))[group] + 0.35 * rng.normal(size=(count, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    windows = sparse.random(count, 300, 0.03, random_state=1, format="csr")
    windows.data[:] = 1
    return FeatureEvidence(rows.astype(np.float32) if weights else None, sparse.csr_matrix(windows))


def brute_force(
    labels: list[str], evidence: FeatureEvidence, options: FamilyOptions
) -> dict[tuple[int, int], str]:
    """Every pair, one by one, by the definitions in words."""
    forms = [normalised(label) for label in labels]
    distinct = sorted(set(forms))
    texts = TextSimilarity(distinct)
    ngrams = texts.ngrams.toarray()
    windows = evidence.windows_NX.toarray()

    def text(i: int, j: int) -> float:
        if forms[i] == forms[j]:
            return 1.0
        one, other = set(forms[i].split()), set(forms[j].split())
        jaccard = len(one & other) / len(one | other)
        return max(float(ngrams[distinct.index(forms[i])] @ ngrams[distinct.index(forms[j])]), jaccard)

    found: dict[tuple[int, int], str] = {}
    for i, j in itertools.combinations(range(len(labels)), 2):
        near_text = text(i, j) >= options.near_text
        shared, fewer = windows[i] @ windows[j], min(windows[i].sum(), windows[j].sum())
        same = fewer > 0 and shared / fewer >= options.near_cofiring
        if evidence.decoder_NE is not None:
            same = same or evidence.decoder_NE[i] @ evidence.decoder_NE[j] >= options.near_decoder
        if near_text or same:
            found[i, j] = "duplicate" if near_text and same else "confusable" if same else "synonym"
    return found


def linked(labels: list[str], evidence: FeatureEvidence, options: FamilyOptions) -> Links:
    forms = [normalised(label) for label in labels]
    distinct = sorted(set(forms))
    texts = TextSimilarity(distinct)
    near = texts.near(options.near_text, options.max_near_texts, options.block_rows)
    text_of_N = np.array([distinct.index(form) for form in forms])
    return Linker(texts, near, text_of_N, evidence, options).links()


def by_pair(links: Links) -> dict[tuple[int, int], str]:
    return {
        (int(first), int(second)): KINDS[kind]
        for first, second, kind in zip(links.first_P, links.second_P, links.kind_P, strict=True)
    }


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("block_rows", [7, 64, 1000])
def test_links_are_those_of_a_brute_force_comparison(block_rows: int, weights: bool) -> None:
    rng = np.random.default_rng(3)
    labels, evidence = random_labels(rng, 240), random_evidence(rng, 240, weights=weights)
    options = FamilyOptions(block_rows=block_rows, max_links=1000, max_near_texts=1000)
    expected = brute_force(labels, evidence, options)
    assert by_pair(linked(labels, evidence, options)) == expected
    assert set(expected.values()) == set(KINDS)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_no_near_pair_is_missed_by_the_prefix_filter(threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = sparse.random(150, 60, 0.1, random_state=seed, format="csr")
    matrix.data = rng.zipf(1.5, len(matrix.data)).astype(float)
    unit = unit_rows(sparse.csr_matrix(matrix))
    dense = unit.toarray() @ unit.toarray().T
    expected = {(int(i), int(j)) for i, j in np.argwhere(np.triu(dense, 1) >= threshold)}
    found, num_candidates = set(), 0
    for rows, cols in candidate_pairs(unit, threshold, 32):
        products = row_products(unit, rows, cols)
        num_candidates += len(rows)
        found |= {(int(i), int(j)) for i, j, p in zip(rows, cols, products, strict=True) if p >= threshold}
    assert found == expected
    assert num_candidates < 150 * 149 / 2, "the filter filters"


def test_of_a_feature_the_nearest_links_are_kept() -> None:
    rng = np.random.default_rng(5)
    labels = ["digits"] * 60
    evidence = random_evidence(rng, 60)
    all_links = linked(labels, evidence, FamilyOptions(max_links=1000))
    few = linked(labels, evidence, FamilyOptions(max_links=3, block_rows=16))
    assert len(all_links) == 60 * 59 / 2
    counts = np.bincount(few.first_P, minlength=60)
    assert counts.tolist() == [min(3, 59 - place) for place in range(60)]
    for first in range(60):
        mine = all_links.take(np.flatnonzero(all_links.first_P == first))
        kept = few.take(np.flatnonzero(few.first_P == first))
        assert sorted(mine.kind_P)[: len(kept)] == sorted(kept.kind_P), "duplicates before synonyms"


def test_families_are_named_by_the_most_typical_label() -> None:
    labels = ["names of countries", "country names", "names of European countries", "digits", "verbs"]
    forms = sorted({normalised(label) for label in labels})
    texts = TextSimilarity(forms)
    near = texts.near(0.6, 8, 2)
    families = text_families(near, [2 if form == "digit" else 1 for form in forms])
    named = {forms[family.centre]: {forms[text] for text in family.texts} for family in families}
    assert named["digit"] == {"digit"}, "two labels of one text are a family"
    assert set().union(*named.values()) == {form for form in forms if form != "verb"}
    [countries] = [family for family in families if len(family.texts) > 1]
    assert max(countries.similarity) == countries.similarity[countries.texts.index(countries.centre)] == 1.0


def test_without_texts_there_is_no_family() -> None:
    assert text_families(sparse.csr_matrix((0, 0)), []) == []


def test_a_chain_of_near_texts_is_no_family_of_unlike_ends() -> None:
    near = np.eye(6)
    for text in range(5):
        near[text, text + 1] = near[text + 1, text] = 0.7 + 0.01 * text
    families = text_families(sparse.csr_matrix(near), [1] * 6)
    for family in families:
        assert all(near[family.centre, text] > 0 for text in family.texts)
    assert sorted(text for family in families for text in family.texts) == list(range(6))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 1))
@settings(max_examples=60)
def test_families_part_the_texts_and_hold_what_is_near_their_name(
    seed: int, size: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(0.6, 1, (size, size)) * (rng.random((size, size)) < density), 1)
    near, counts = upper + upper.T + np.eye(size), rng.integers(1, 4, size)
    families = text_families(sparse.csr_matrix(near), counts.tolist())
    texts = [text for family in families for text in family.texts]
    assert len(texts) == len(set(texts))
    assert sum(counts[list(set(range(size)) - set(texts))]) == size - len(texts), (
        "only lone labels are left out"
    )
    centres = [family.centre for family in families]
    for family in families:
        assert family.centre in family.texts
        for text, similarity in zip(family.texts, family.similarity, strict=True):
            assert similarity == near[family.centre, text] == max(near[centre, text] for centre in centres)
