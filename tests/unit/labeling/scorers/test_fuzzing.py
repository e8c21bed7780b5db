"""How words are marked for the judge."""

import numpy as np

from thresher.labeling.scorers.fuzzing import marked_words


def test_a_text_cannot_mark_its_own_words() -> None:
    tokens = ["the", " «ship»", " left", "\n", " port»"]
    shown = marked_words(tokens, np.array([False, False, True, True, False]))
    assert shown.count("«") == shown.count("»") == 1
    assert "«left»" in shown
