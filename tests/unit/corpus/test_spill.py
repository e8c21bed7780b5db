import random

import numpy as np

from thresher.corpus.spill import Spill
from thresher.corpus.tokenised import TokenisedDocument


def test_documents_are_read_back_in_any_order_and_the_file_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    documents = [
        TokenisedDocument(np.arange(index, dtype=np.int32), np.full(index, index % 3, np.int16))
        for index in range(20)
    ]
    rows = {}
    with Spill() as spill:
        for first in range(0, 20, 6):
            part = range(first, min(first + 6, 20))
            rows |= zip(part, spill.write([f"d{i}" for i in part], [documents[i] for i in part]), strict=True)
        spill.seal()
        for index in random.Random(0).sample(range(20), 20):
            doc_id, document = spill.read(rows[index])
            assert doc_id == f"d{index}"
            assert document.token_ids.tolist() == documents[index].token_ids.tolist()
            assert document.role_ids.tolist() == documents[index].role_ids.tolist()
        assert list(tmp_path.iterdir()) != []
    assert list(tmp_path.iterdir()) == []
