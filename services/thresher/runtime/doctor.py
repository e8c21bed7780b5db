"""Is this machine fit for the work: each check is one line, ok with what was found or FAIL with the mend."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException

from thresher.contracts.errors import EndpointError, ThresherError
from thresher.storage import open_store

SUPPORTED_PYTHONS = ((3, 11), (3, 12))
IMPORT_TIMEOUT_S = 120.0
ENDPOINT_TIMEOUT_S = 10.0
ENGINE_MEND = 'Install the engine: pip install "thresher[cpu]", or "thresher[gpu]" on CUDA machines.'
TORCHVISION_MEND = "If torchvision or torchaudio is at fault, uninstall it: thresher needs neither."
IMPORTS = (
    (
        "torch",
        "import torch; print(torch.__version__, 'with CUDA' if torch.cuda.is_available() else 'on CPU')",
    ),
    ("vLLM", "import vllm; from vllm import LLM; print(vllm.__version__)"),
    ("Ray", "import ray; print(ray.__version__)"),
)
"""What each heavy package must do, alone in a process."""


class UnfitError(ThresherError):
    """Something that thresher needs of this machine is not there; says how to mend it."""


@dataclass(frozen=True)
class Check:
    name: str
    probe: Callable[[], str]
    """Returns what was found; raises ThresherError, with the mend, if it will not do."""


@dataclass(frozen=True)
class CheckResult:
    name: str
    ok: bool
    detail: str

    def line(self) -> str:
        return f"{'ok' if self.ok else 'FAIL':<4}  {self.name}: {self.detail}"


def run_check(check: Check) -> CheckResult:
    """Run a check; whatever it finds is a result."""
    try:
        return CheckResult(check.name, True, check.probe())
    except ThresherError as error:
        return CheckResult(check.name, False, str(error))


def machine_checks() -> list[Check]:
    """Python, torch, vLLM and Ray."""
    imports = [Check(name, lambda code=code: imported(code)) for name, code in IMPORTS]  # type: ignore[misc]
    return [Check("Python", lambda: supported_python(sys.version_info[:2])), *imports]


def store_check(root: str) -> Check:
    """The object store at a root url."""
    return Check("store", lambda: usable_store(root))


def endpoint_check(base_url: str) -> Check:
    """An OpenAI-compatible endpoint; the key is taken from OPENAI_API_KEY."""
    return Check("endpoint", lambda: served_models(base_url, os.environ.get("OPENAI_API_KEY", "")))


def supported_python(version: tuple[int, int]) -> str:
    """The version, if it is one that thresher runs on."""
    found = ".".join(map(str, version))
    if version not in SUPPORTED_PYTHONS:
        known = " or ".join(".".join(map(str, item)) for item in SUPPORTED_PYTHONS)
        raise UnfitError(f"{found} is not supported: make the virtual environment with Python {known}.")
    return found


def imported(code: str, timeout_s: float = IMPORT_TIMEOUT_S) -> str:
    """Last line that `code` prints in a Python of its own, where an import may hang or crash without harm."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnfitError(f"the import hangs ({timeout_s:.0f} s). Install it again. {ENGINE_MEND}") from error
    if child.returncode != 0:
        cause = child.stderr.strip().splitlines()[-1:] or [f"ended with code {child.returncode}"]
        raise UnfitError(f"{cause[0]}. {ENGINE_MEND} {TORCHVISION_MEND}")
    return child.stdout.strip().splitlines()[-1]


def usable_store(root: str) -> str:
    """Write, read and delete an object, and see whether conditional writes hold."""
    store = open_store(root)
    key, data = f".probe/doctor-{uuid.uuid4().hex}", uuid.uuid4().bytes
    store.put(key, data)
    try:
        if store.get(key) != data:
            raise UnfitError(f"{store.url} gave back other bytes than were written: use another store.")
    finally:
        store.delete(key)
    if not store.has_conditional_writes():
        return f"{store.url}, without conditional writes: run one coordinator at a time on a root"
    return f"{store.url}, with conditional writes"


def served_models(base_url: str, api_key: str) -> str:
    """The models that an endpoint lists.

    Raises:
        EndpointError: it is not there, refuses the key, or lists no model.
    """
    url = f"{base_url.rstrip('/')}/models"
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {api_key}"})
        with urllib.request.urlopen(request, timeout=ENDPOINT_TIMEOUT_S) as response:
            models = [str(model["id"]) for model in json.load(response)["data"]]
    except urllib.error.HTTPError as error:
        mend = "set OPENAI_API_KEY to its key" if error.code in (401, 403) else "correct OPENAI_BASE_URL"
        raise EndpointError(f"{url} answers {error.code} {error.reason}: {mend}.") from error
    except (OSError, HTTPException) as error:
        raise EndpointError(
            f"{url} does not answer ({error}): start it or correct OPENAI_BASE_URL."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EndpointError(f"{url} is no OpenAI-compatible endpoint: correct OPENAI_BASE_URL.") from error
    if not models:
        raise EndpointError(f"{url} lists no model: serve one.")
    return f"{base_url} serves {', '.join(models)}"
