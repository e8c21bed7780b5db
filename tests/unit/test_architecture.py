"""The import rules: arrows point down, stages never meet, and pulling a dictionary needs no GPU stack."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import thresher

PACKAGE = Path(thresher.__file__).parent
LAYERS: list[set[str]] = [
    {"contracts", "config", "__init__"},
    {"storage", "runtime"},
    {"activations", "latents", "catalog"},
    {"corpus", "harvest", "dictionary", "features", "labeling", "release"},
    {"web", "evaluation"},
    {"pipelines", "cli"},
]
"""From the bottom up. A part imports parts of lower layers and itself."""
SAME_LAYER_ALLOWED = {("config", "contracts"), ("cli", "pipelines"), ("runtime", "storage")}
HEAVY = ("torch", "ray", "vllm", "transformers", "openai")
LIGHT_PARTS = ("contracts", "config", "storage", "catalog", "release")
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(part: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if part in layer)


def imported_parts(source: str) -> set[str]:
    """Parts of thresher that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = {name.split(".")[1] for name in names if name.startswith("thresher.")}
    return parts - {"__version__"}


def may_import(part: str, other: str) -> bool:
    return part == other or level(other) < level(part) or (part, other) in SAME_LAYER_ALLOWED


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows_point_down(file):
    part = part_of(file)
    wrong = {other for other in imported_parts(file.read_text()) if not may_import(part, other)}
    assert not wrong, f"{part} may not import {sorted(wrong)}"


def test_the_rules_themselves():
    assert imported_parts("from thresher.harvest import spec\nimport thresher.storage.base") == {
        "harvest",
        "storage",
    }
    assert imported_parts("def late():\n    from thresher import labeling, __version__") == {"labeling"}
    assert not may_import("harvest", "labeling")
    assert not may_import("catalog", "release")
    assert not may_import("contracts", "storage")
    assert not may_import("storage", "runtime")
    assert not may_import("activations", "latents")
    assert may_import("release", "catalog")


def module_name(file: Path) -> str:
    return ".".join(("thresher", *file.relative_to(PACKAGE).with_suffix("").parts))


def heavy_modules_after(imported: list[str]) -> list[str]:
    """Which of HEAVY are loaded once a fresh interpreter has imported these modules."""
    loaded = f"[name for name in {HEAVY} if name in sys.modules]"
    code = f"import importlib, json, sys; [importlib.import_module(n) for n in {imported}]; print(json.dumps({loaded}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    found: list[str] = json.loads(output)
    return found


@pytest.mark.parametrize("part", LIGHT_PARTS)
def test_a_light_part_loads_no_gpu_stack(part):
    files = [file for file in FILES if part_of(file) == part and "migrations" not in file.parts]
    assert files
    assert heavy_modules_after([module_name(file) for file in files]) == []


def test_the_specs_load_no_gpu_stack():
    specs = [module_name(file) for file in FILES if file.name == "spec.py"]
    assert "thresher.release.spec" in specs
    assert heavy_modules_after(specs) == []


def test_a_heavy_import_would_be_seen():
    assert heavy_modules_after(["torch"]) == ["torch"]


def test_parquet_is_read_in_one_place():
    """Elsewhere a process that ends right after could abort: see storage/parquet.py."""
    readers = [
        str(file.relative_to(PACKAGE))
        for file in FILES
        if any(name in file.read_text() for name in ("pq.read_table", "pq.ParquetFile(", "pq.read_pandas"))
    ]
    assert readers == ["storage/parquet.py"]
