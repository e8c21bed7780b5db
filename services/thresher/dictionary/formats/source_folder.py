"""The folder that a dictionary is imported from: local or in a bucket, its files hashed as they are read."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thresher.contracts.errors import SpecError
from thresher.contracts.ids import sha256_hex
from thresher.contracts.manifests import OriginFile
from thresher.storage import ObjectMissingError, ObjectStore, open_store

FIELD = "source.path"
PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
PICKLE_MARK, PICKLE_PROTOCOLS = 0x80, range(2, 6)
ZIP_MARK = b"PK\x03\x04"

CONVERSION = """{name} is a pickle, which can run any code when it is read, so thresher reads none. If you trust where \
it came from, convert it in the environment that you made it in:

    python - <<'END'
    import torch
    from safetensors.torch import save_file
    state = torch.load({path!r}, map_location="cpu", weights_only=True)
    save_file({{name: tensor.clone().contiguous() for name, tensor in state.items()}}, {target!r})
    END
"""


class SourceFolder:
    """Reads files by name.

    Args:
        path: a local folder, or file:///folder or s3://bucket/prefix.

    Raises:
        SpecError: there is no such local folder.
    """

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")
        self._store = _open(path)
        self._files: dict[str, OriginFile] = {}

    @property
    def name(self) -> str:
        """Of the folder itself."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def files(self) -> list[OriginFile]:
        """Everything that was read so far, by name."""
        return [self._files[name] for name in sorted(self._files)]

    def has(self, name: str) -> bool:
        return self._store.head(name) is not None

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            SpecError: it is absent, or a pickle by its content; says how to convert one.
        """
        try:
            data = self._store.get(name)
        except ObjectMissingError as error:
            raise self._absent(name) from error
        if is_pickle(data):
            raise self.fault(name, self._conversion(name, name))
        self._files[name] = OriginFile(name=name, size=len(data), sha256=sha256_hex(data))
        return data

    def read_json(self, name: str) -> dict[str, Any]:
        """A file that holds a mapping.

        Raises:
            SpecError: it is absent, or holds none.
        """
        data = self.read(name)
        try:
            fields = json.loads(data)
        except ValueError as error:
            raise self.fault(name, f"It is no JSON ({error}).") from error
        if not isinstance(fields, dict):
            raise self.fault(name, "It holds no mapping of keys to values.")
        return fields

    def fault(self, name: str, mend: str, allowed: Sequence[object] = ()) -> SpecError:
        """What is wrong with a file of this folder."""
        return SpecError(FIELD, f"{self.path}/{name}", allowed=allowed, mend=mend)

    def _absent(self, name: str) -> SpecError:
        there = [info.key for info in self._store.list("") if "/" not in info.key]
        pickles = [key for key in there if key.endswith(PICKLE_SUFFIXES)]
        if pickles and name.endswith(".safetensors"):
            return self.fault(name, "It is not there. " + self._conversion(pickles[0], name))
        found = f"; it holds {', '.join(there[:10])}" if there else ""
        return self.fault(name, f"It is not there{found}. Give the folder that holds it.")

    def _conversion(self, name: str, target: str) -> str:
        stem = target.rsplit(".", 1)[0]
        folder = self.path if "://" not in self.path else "."
        return CONVERSION.format(name=name, path=f"{folder}/{name}", target=f"{folder}/{stem}.safetensors")


def is_pickle(data: bytes) -> bool:
    """Whether bytes begin as a pickle does, or are a zip with a pickle in it, as torch.save writes them."""
    if len(data) > 1 and data[0] == PICKLE_MARK and data[1] in PICKLE_PROTOCOLS:
        return True
    if not data.startswith(ZIP_MARK):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _open(path: str) -> ObjectStore:
    if "://" in path and not path.startswith("file://"):
        return open_store(path)
    local = Path(path.removeprefix("file://")).expanduser().absolute()
    if not local.is_dir():
        raise SpecError(FIELD, path, mend="Give a folder that exists, or s3://bucket/prefix.")
    return open_store(local.as_uri())
