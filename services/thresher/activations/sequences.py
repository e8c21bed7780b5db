"""The token sequences of a corpus, and the address of every row that a model makes of them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.contracts import paths, schemas
from thresher.contracts.manifests import CorpusManifest, SequenceFile
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record
from thresher.storage.parquet import read_parquet

Segment = tuple[str, int, int]
"""doc_id, first position, number of tokens."""


class Sequences:
    """Reads ranges of sequences; keeps the last file read, since ranges are asked for in order."""

    def __init__(self, store: ObjectStore, manifest: CorpusManifest) -> None:
        self._store = store
        self.manifest = manifest
        self._loaded: tuple[SequenceFile, pa.Table] | None = None

    def table(self, start: int, stop: int) -> pa.Table:
        """Sequences [start, stop), schema SEQUENCES."""
        assert 0 <= start < stop <= self.manifest.num_sequences, "range of sequences out of the corpus"
        pieces = []
        for file in self.manifest.files:
            first, last = max(start, file.first_sequence), min(stop, file.first_sequence + file.num_sequences)
            if first < last:
                pieces.append(self._file(file).slice(first - file.first_sequence, last - first))
        return pa.concat_tables(pieces)

    def _file(self, file: SequenceFile) -> pa.Table:
        if self._loaded is None or self._loaded[0] != file:
            self._loaded = file, read_parquet(pa.BufferReader(self._store.get(file.key)))
        return self._loaded[1]

    def token_ids(self, start: int, stop: int) -> np.ndarray:
        """int32 [stop - start, L]."""
        return token_ids_of(self.table(start, stop), self.manifest.sequence_length)

    def segments(self, start: int, stop: int) -> list[list[Segment]]:
        """For each sequence, the documents it is made of, covering every position once, in order."""
        return [
            [(item["doc_id"], item["start"], item["length"]) for item in segments]
            for segments in self.table(start, stop).column("segments").to_pylist()
        ]

    def rows(self, start: int, stop: int, mask: npt.NDArray[np.bool_] | None = None) -> pa.Table:
        """The address of each row of sequences [start, stop), schema ROWS; of those alone that `mask` holds.

        `mask`: bool [stop - start, L].
        """
        length = self.manifest.sequence_length
        documents: list[str] = []
        counts: list[int] = []
        for segments in self.segments(start, stop):
            documents += [doc_id for doc_id, _, _ in segments]
            counts += [count for _, _, count in segments]
        assert sum(counts) == (stop - start) * length, "segments must cover every position once"
        names, codes = np.unique(np.array(documents, dtype=object), return_inverse=True)
        doc_id = pa.DictionaryArray.from_arrays(
            np.repeat(codes, counts).astype(np.int32), pa.array(names, pa.string())
        )
        table = pa.table(
            {
                "doc_id": doc_id,
                "sequence": np.repeat(np.arange(start, stop, dtype=np.int32), length),
                "position": np.tile(np.arange(length, dtype=np.int32), stop - start),
                "token_id": self.token_ids(start, stop).reshape(-1),
            },
            schema=schemas.ROWS,
        )
        if mask is None:
            return table
        assert mask.shape == (stop - start, length), "a mask has one value a position"
        return table.filter(pa.array(mask.reshape(-1)))


def token_ids_of(table: pa.Table, length: int) -> np.ndarray:
    """The token ids of a table of schema SEQUENCES: int32 [number of sequences, L]."""
    values = table.column("token_ids").combine_chunks()
    flat = pa.concat_arrays([chunk.flatten() for chunk in _chunks(values)])
    return np.asarray(flat).reshape(-1, length)


def _chunks(values: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return values.chunks if isinstance(values, pa.ChunkedArray) else [values]


def open_sequences(store: ObjectStore, corpus_id: str) -> Sequences:
    """Open a corpus by id.

    Raises:
        MissingArtifactError: there is no whole corpus of that id.
    """
    return Sequences(store, read_record(store, paths.manifest(paths.corpus(corpus_id)), CorpusManifest))
