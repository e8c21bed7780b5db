"""Labels as sets of words and as vectors of character n-grams.

Shapes: U texts, G n-grams, W words.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

WORD = re.compile(r"[^\W_]+")
FUNCTION_WORDS = frozenset(
    word
    for line in (
        "a about all an and any are as at be by etc for from in into is it its of on or such than that",
        "the their them these they this those to used with",
    )
    for word in line.split()
)
NGRAM_LENGTHS = (2, 4)
MIN_STEM = 3


def words(text: str) -> list[str]:
    """The words that carry meaning, in order, without case and plural; every word if none does."""
    found = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [singular(word) for word in found if word not in FUNCTION_WORDS] or found


def singular(word: str) -> str:
    """A crude stem: countries and country, colours and colour are one."""
    if word.endswith("ies") and len(word) > MIN_STEM + 2:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith("ss") and len(word) > MIN_STEM:
        return word[:-1]
    return word


def normalised(text: str) -> str:
    """Texts of one normal form are the same label."""
    return " ".join(words(text))


def ngram_vectors(normal_forms: Sequence[str]) -> sparse.csr_matrix:
    """[U, G]: character n-grams inside words, weighted by TF-IDF, each row of length 1 (0 for a text without any)."""
    if not any(normal_forms):
        return sparse.csr_matrix((len(normal_forms), 1))
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAM_LENGTHS, lowercase=False)
    return sparse.csr_matrix(vectorizer.fit_transform(normal_forms))


def word_sets(normal_forms: Sequence[str]) -> sparse.csr_matrix:
    """[U, W]: 1 where a text holds a word."""
    columns: dict[str, int] = {}
    rows, cols = [], []
    for row, form in enumerate(normal_forms):
        for word in sorted(set(form.split())):
            rows.append(row)
            cols.append(columns.setdefault(word, len(columns)))
    shape = (len(normal_forms), max(len(columns), 1))
    return sparse.csr_matrix((np.ones(len(rows)), (rows, cols)), shape=shape)
