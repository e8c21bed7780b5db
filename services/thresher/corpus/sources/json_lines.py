"""Lines of JSON, plain or compressed, one window at a time."""

import codecs
import json
from collections.abc import Iterator

import pyarrow as pa

from thresher.contracts.errors import SpecError
from thresher.corpus.sources.files import Advance, SourceFile
from thresher.corpus.sources.records import Record

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
CHUNK_BYTES = 1 << 20


def read_json_lines(path: str, file: SourceFile, advance: Advance) -> Iterator[Record]:
    """Each line that is not blank; `number` counts blank ones too.

    Raises:
        SpecError: a line is not a JSON object, or the file cannot be decompressed.
    """
    for number, line in enumerate(_lines(path, file, advance)):
        if line.strip():
            where = f"Line {number + 1} of {file.url}"
            yield Record(number, where, _object(path, where, line))


def _object(path: str, where: str, line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line.decode())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SpecError("sources.path", path, mend=f"{where} is not JSON in UTF-8: {error}.") from error
    if not isinstance(value, dict):
        raise SpecError("sources.path", path, mend=f"{where} is no JSON object: write one a line.")
    return value


def _lines(path: str, file: SourceFile, advance: Advance) -> Iterator[bytes]:
    begun: list[bytes] = [b""]
    first = True
    for chunk in _chunks(path, file, advance):
        *whole, rest = chunk.removeprefix(codecs.BOM_UTF8 if first else b"").split(b"\n")
        first = False
        if whole:
            yield b"".join([*begun, whole[0]])
            yield from whole[1:]
            begun = []
        begun.append(rest)
    if last := b"".join(begun):
        yield last


def _chunks(path: str, file: SourceFile, advance: Advance) -> Iterator[bytes]:
    compression = next((name for suffix, name in COMPRESSION.items() if file.key.endswith(suffix)), None)
    with file.open_stream() as raw:
        stream = pa.CompressedInputStream(raw, compression) if compression else raw
        done = 0
        while chunk := _read(path, file, stream):
            yield chunk
            advance(raw.tell() - done)
            done = raw.tell()


def _read(path: str, file: SourceFile, stream: pa.NativeFile) -> bytes:
    try:
        chunk: bytes = stream.read(CHUNK_BYTES)
    except OSError as error:
        raise SpecError("sources.path", path, mend=f"{file.url} cannot be decompressed: {error}.") from error
    return chunk
