"""What is known of each row beside its activations: document, token, context.

Shape suffixes: K sequences asked for, L rows a sequence, N = K * L rows.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.activations.importer.items import IndexArray, Items
from thresher.activations.importer.spec import AddressSpec, NpySource, ParquetSource, SafetensorsSource
from thresher.contracts.errors import SpecError
from thresher.contracts.schemas import ROWS

NO_TOKEN = -1
PAYLOAD = pa.field("payload", pa.string())
"""Text, JSON or a URI of an imported row; null where there is none."""


class Column:
    """A source of single values, one a sequence or one a row.

    Raises:
        SpecError: it has neither as many entries as there are sequences nor as rows, or holds no plain values.
    """

    def __init__(
        self,
        field: str,
        source: NpySource | SafetensorsSource | ParquetSource,
        num_sequences: int,
        sequence_length: int,
    ) -> None:
        self.items, self._length = Items(field, source, plain=True), sequence_length
        shape = (len(self.items), *self.items.item_shape)
        allowed = {
            (num_sequences,): False,
            (num_sequences * sequence_length,): True,
            (num_sequences, sequence_length): True,
        }
        if shape not in allowed:
            raise SpecError(
                field,
                f"an array of shape {shape}",
                allowed=[str(item) for item in allowed],
                mend="Give one entry a sequence or one a row.",
            )
        self.is_per_row = allowed[shape] and sequence_length > 1
        if not self.items.dtype_name.startswith(
            ("int", "uint", "str", "bytes", "string", "large_string", "dict")
        ):
            raise SpecError(
                field, self.items.dtype_name, allowed="integers or texts", mend="Convert the values."
            )

    def take(self, sequences_K: IndexArray) -> npt.NDArray[Any]:
        """Values of sequences in ascending order: [K], or [N] of a source with one a row."""
        items = sequences_K
        if self.is_per_row and not self.items.item_shape:
            items = (sequences_K[:, None] * self._length + np.arange(self._length)).reshape(-1)
        return self.items.take(items).reshape(-1)


class Addresses:
    """Makes the rows table of any sequences.

    Raises:
        SpecError: a source does not fit the number of sequences or rows; names it.
    """

    def __init__(self, spec: AddressSpec, num_sequences: int, sequence_length: int) -> None:
        sources = {"doc_id": spec.doc_id, "token_id": spec.token_id, "payload": spec.payload}
        self._columns = {
            name: Column(f"address.{name}", source, num_sequences, sequence_length)
            for name, source in sources.items()
            if source is not None
        }
        self._length = sequence_length
        documents, tokens = self._columns.get("doc_id"), self._columns.get("token_id")
        if documents is not None and documents.is_per_row:
            raise SpecError(
                "address.doc_id",
                "one entry a row",
                allowed="one entry a sequence",
                mend="A sequence lies in one split, so it is of one document.",
            )
        if tokens is not None and not tokens.items.dtype_name.startswith(("int", "uint")):
            raise SpecError(
                "address.token_id", tokens.items.dtype_name, allowed="integers", mend="Convert them."
            )

    @property
    def items(self) -> dict[str, Items]:
        """Items of each source, by the name of its field."""
        return {column.items.field: column.items for column in self._columns.values()}

    @property
    def schema(self) -> pa.Schema:
        """Of the rows table: ROWS, with a payload if there is one."""
        return ROWS.append(PAYLOAD) if "payload" in self._columns else ROWS

    def doc_ids(self, sequences_K: IndexArray) -> list[str]:
        """Document of each sequence, in ascending order of the source's sequences.

        Raises:
            SpecError: an entry is null or empty; names the file and the row.
        """
        if "doc_id" not in self._columns:
            return [str(number) for number in sequences_K.tolist()]
        texts = _texts(self._columns["doc_id"].take(sequences_K))
        for index, text in enumerate(texts):
            if not text:
                place = self._columns["doc_id"].items.place_of(int(sequences_K[index]))
                raise SpecError(
                    "address.doc_id", place, mend="It is null or empty: give every row a document."
                )
        return [str(text) for text in texts]

    def table(self, sequences_K: IndexArray, first: int) -> pa.Table:
        """Addresses of the rows of the source's sequences, which are numbered from `first` on in the harvest."""
        count, length = len(sequences_K), self._length
        doc_id = pa.array(self.doc_ids(sequences_K), pa.string()).dictionary_encode()
        columns = {
            "doc_id": doc_id.take(pa.array(np.repeat(np.arange(count), length))),
            "sequence": np.repeat(np.arange(first, first + count, dtype=np.int32), length),
            "position": np.tile(np.arange(length, dtype=np.int32), count),
            "token_id": self._token_ids(sequences_K),
        }
        if "payload" in self._columns:
            payload = pa.array(_texts(self._columns["payload"].take(sequences_K)), pa.string())
            columns["payload"] = payload if len(payload) == count * length else _repeat(payload, length)
        return pa.table(columns, schema=self.schema)

    def _token_ids(self, sequences_K: IndexArray) -> npt.NDArray[np.int32]:
        if "token_id" not in self._columns:
            return np.full(len(sequences_K) * self._length, NO_TOKEN, np.int32)
        column = self._columns["token_id"]
        values = column.take(sequences_K)
        if values.dtype == object or values.min() < NO_TOKEN or values.max() > np.iinfo(np.int32).max:
            place = column.items.place_of(int(sequences_K[0]))
            raise SpecError(
                "address.token_id",
                f"{place} and on",
                allowed="-1 to 2^31 - 1",
                mend="A token is null or out of this range.",
            )
        per_row = values if column.is_per_row else np.repeat(values, self._length)
        return per_row.astype(np.int32)


def _repeat(values: pa.Array, count: int) -> pa.Array:
    return values.take(pa.array(np.repeat(np.arange(len(values)), count)))


def _texts(values: npt.NDArray[Any]) -> list[str | None]:
    if values.dtype.kind == "S":
        return [item.decode() for item in values.tolist()]
    return [None if item is None else str(item) for item in values.tolist()]
