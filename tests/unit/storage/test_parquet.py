"""Reading equals Arrow's own reading, passes over what it need not read, and lets the process end."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from thresher.storage.parquet import open_parquet, read_parquet

NUM_ROWS, GROUP_ROWS = 1000, 64
ENDS_AFTER_READING = """
import sys
import pyarrow as pa
from thresher.storage.parquet import read_parquet
data = open(sys.argv[1], "rb").read()
for _ in range(3):
    read_parquet(pa.BufferReader(data))
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "feature": np.sort(draw.integers(0, 90, NUM_ROWS)).astype(np.int32),
            "kind": [["top", "random", "negative"][kind] for kind in draw.integers(0, 3, NUM_ROWS)],
            "tokens": [[str(number)] * (number % 3) for number in range(NUM_ROWS)],
            **{f"value {index}": draw.random(NUM_ROWS) for index in range(12)},
        }
    )
    path = tmp_path_factory.mktemp("parquet") / "rows.parquet"
    pq.write_table(table, path, row_group_size=GROUP_ROWS)
    return path


def sources(file: Path) -> list[pa.NativeFile]:
    data = file.read_bytes()
    return [pa.memory_map(str(file)), pa.BufferReader(data), pa.PythonFile(io.BytesIO(data), mode="r")]


@pytest.mark.parametrize("features", [[], [5], [0, 89], [17, 18, 60], list(range(90)), [1000, -1]], ids=str)
def test_rows_with_wanted_values(file: Path, features: list[int]) -> None:
    for kinds in (["top"], ["top", "negative"], ["none"]):
        is_wanted = pc.field("feature").isin(pa.array(features, pa.int32())) & pc.field("kind").isin(kinds)
        expected = pq.read_table(file, columns=["tokens", "value 3"], filters=is_wanted)
        for source in sources(file):
            found = read_parquet(source, ["tokens", "value 3"], {"feature": features, "kind": kinds})
            assert found.equals(expected)


def test_all_rows(file: Path) -> None:
    for source in sources(file):
        assert read_parquet(source).equals(pq.read_table(file))
        assert read_parquet(source, ["kind"]).equals(pq.read_table(file, columns=["kind"]))


def test_groups_without_wanted_values_are_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = pq.ParquetFile.read_row_groups

    def spy(self, groups, **more):
        read.extend(groups)
        return original(self, groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    [row] = np.flatnonzero(np.diff(pq.read_table(file)["feature"].to_numpy(), prepend=-1))[40:41]
    feature = pq.read_table(file)["feature"][int(row)].as_py()
    read_parquet(pa.memory_map(str(file)), ["kind"], {"feature": [feature]})
    assert int(row) // GROUP_ROWS in read
    assert len(read) <= 2 < open_parquet(pa.memory_map(str(file))).num_row_groups


def test_a_column_that_is_missing_is_named(file: Path) -> None:
    for columns, wanted in ((["absent"], None), (["kind"], {"absent": [1]})):
        with pytest.raises(KeyError, match="absent"):
            read_parquet(pa.memory_map(str(file)), columns, wanted)


@pytest.mark.fault
def test_a_process_that_ends_right_after_reading_ends_well(file: Path) -> None:
    """With Arrow's dataset reader one in seven aborted: of 24, nearly always some."""
    for _ in range(6):
        command = [sys.executable, "-c", ENDS_AFTER_READING, str(file)]
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
        assert [process.communicate()[1] for process in processes] == [b""] * 4
        assert [process.returncode for process in processes] == [0] * 4
