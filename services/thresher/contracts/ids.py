"""Content ids: the same spec over the same inputs has the same id, anything else has another."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ID_LENGTH = 16


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content_id(kind: str, parts: Mapping[str, Any]) -> str:
    """The id of an artifact of a `kind`, from everything that determines its content.

    `parts` holds plain JSON values: the resolved spec and the ids of everything upstream.
    """
    return sha256_hex(canonical_json({"kind": kind, **parts}).encode())[:ID_LENGTH]
