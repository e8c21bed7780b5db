"""Rows of the responses table, and the files that hold them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json

from thresher.contracts.schemas import RESPONSES
from thresher.labeling.budget.prices import Usage
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.storage import ObjectStore
from thresher.storage.parquet import open_parquet, read_parquet
from thresher.storage.read_file import open_input

ROWS_PER_GROUP = 64  # what is read to get at one answer
INDEX_COLUMNS = ["request_sha256", "num_prompt_tokens", "num_completion_tokens", "num_cached_tokens"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where an answer lies."""

    key: str
    row: int


def row_of(request: ModelRequest, answer: Answer, run_id: str) -> Row:
    return {
        "request_sha256": request.sha256,
        "purpose": request.purpose,
        "model": request.model,
        "revision": request.revision,
        "run_id": run_id,
        "response": to_json(answer.body, inf_nan_mode="null").decode(),
        "num_prompt_tokens": answer.num_prompt_tokens,
        "num_completion_tokens": answer.num_completion_tokens,
        "num_cached_tokens": answer.num_cached_tokens,
        "received_at": answer.received_at,
    }


def answer_of(row: Row) -> Answer:
    received_at: datetime = row["received_at"]
    return Answer(
        body=json.loads(row["response"]),
        num_prompt_tokens=row["num_prompt_tokens"],
        num_completion_tokens=row["num_completion_tokens"],
        received_at=received_at,
        num_cached_tokens=row["num_cached_tokens"],
    )


def usage_of(row: Row) -> Usage:
    return Usage(row["num_prompt_tokens"], row["num_completion_tokens"], row["num_cached_tokens"])


def file_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROWS_PER_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def table_of(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=RESPONSES)


def read_table(store: ObjectStore, key: str, columns: list[str] | None = None) -> pa.Table:
    """Raises: ObjectMissingError."""
    with open_input(store, key) as file:
        return read_parquet(file, columns)


def read_row(store: ObjectStore, place: Place) -> Row:
    """One row, at the cost of its row group. Raises: ObjectMissingError."""
    group, offset = divmod(place.row, ROWS_PER_GROUP)
    with open_input(store, place.key) as file:
        table = open_parquet(file).read_row_group(group, use_threads=False)
    row: Row = table.slice(offset, 1).to_pylist()[0]
    return row
