"""Rows a second of the shuffled reader beside a raw sequential read of the same bytes and SAELens' cached activations.

    PYTHONPATH=tests/bench python tests/bench/bench_reader.py [--rows 417792] [--rounds 2]

Each side is a process of its own, in turn, over the same rows, whose files the page cache holds. Ours gives float32
batches of 4,096 rows in random order; the raw read copies stored bytes in the order of the files and decodes nothing,
which is the limit by the memory's bandwidth. Prints a table and writes JSON.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from reader.case import BATCH_ROWS, SEQUENCE_LENGTH, SITE, WIDTH, Case

HERE = Path(__file__).parent
ENCODINGS = ("bfloat16", "float16", "int8")
GOAL_OF_RAW, GOAL_OF_SAELENS = 0.8, 5.0
TIMEOUT_S = 900


def _run(python: Path | str, case: Case) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), "-m", f"reader.{case.side}", case.to_argument()],
        capture_output=True,
        text=True,
        cwd=HERE,
        timeout=TIMEOUT_S,
    )
    if done.returncode != 0:
        return {"failed": (done.stderr.splitlines() or ["no output"])[-1][:300]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _prepare(folder: Path, num_rows: int) -> dict[str, str]:
    """The same rows as a harvest of each encoding; ids by encoding."""
    import numpy as np

    from thresher.activations.importer.run import import_activations
    from thresher.activations.importer.spec import ImportSpec

    rng = np.random.default_rng(0)
    x_ND = np.lib.format.open_memmap(
        folder / "rows.npy", mode="w+", dtype=np.float32, shape=(num_rows, WIDTH)
    )
    for start in range(0, num_rows, BATCH_ROWS):
        x_ND[start : start + BATCH_ROWS] = rng.standard_normal((min(BATCH_ROWS, num_rows - start), WIDTH))
    x_ND.flush()
    made = {}
    for encoding in ENCODINGS:
        spec = {
            "root": (folder / "store").as_uri(),
            "sites": {SITE: {"kind": "npy", "path": str(folder / "rows.npy")}},
            "sequence_length": SEQUENCE_LENGTH,
            "splits": {"fit": 1.0, "explain": 0.0, "report": 0.0},
            "encoding": encoding,
        }
        made[encoding] = import_activations(ImportSpec.parse(spec)).harvest_id
    return made


def _prepare_saelens(python: Path, folder: Path) -> str:
    target = str(folder / "saelens")
    subprocess.run(
        [str(python), "-m", "reader.saelens", "write", str(folder / "rows.npy"), target],
        check=True,
        cwd=HERE,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    return target


def _cases(folder: Path, harvests: dict[str, str], cached_path: str) -> dict[str, Case]:
    root = (folder / "store").as_uri()
    cases = {}
    for encoding in ENCODINGS:
        for side in ("raw", "ours"):
            for threads in (1, 2):
                name = f"{side} {encoding} {threads}"
                cases[name] = Case(side, root, harvests[encoding], encoding, threads)
        name = f"in-order {encoding} 1"
        cases[name] = Case("ours", root, harvests[encoding], encoding, 1, in_order=True)
    if cached_path:
        cases["saelens float16 2"] = Case("saelens", root, "", "float16", 2, cached_path=cached_path)
    return cases


def _rate(runs: list[dict[str, Any]]) -> float:
    found = [run["rows_per_s"] for run in runs if "failed" not in run]
    return median(found) if found else float("nan")


def _print(results: dict[str, list[dict[str, Any]]]) -> None:
    saelens = _rate(results.get("saelens float16 2", []))
    print(f"\n{'side':<9}{'encoding':<10}{'threads':>7}{'M rows/s':>10}{'of raw':>8}{'of SAELens':>12}")
    for name, runs in results.items():
        side, encoding, threads = name.split()
        if all("failed" in run for run in runs):
            print(f"{side:<9}{encoding:<10}{threads:>7}  failed: {runs[0]['failed']}")
            continue
        rate, raw = _rate(runs), _rate(results.get(f"raw {encoding} {threads}", []))
        print(
            f"{side:<9}{encoding:<10}{threads:>7}{rate / 1e6:>10.2f}{rate / raw:>8.0%}{rate / saelens:>11.1f}x"
        )
    print(f"goals: {GOAL_OF_RAW:.0%} of the raw read, {GOAL_OF_SAELENS:.0f} x SAELens")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def _saelens_version(python: Path) -> str:
    code = "from importlib.metadata import version; print(version('sae-lens'))"
    return subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=102 * BATCH_ROWS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--saelens", type=Path, default=Path(".venvs/peers-fit/bin/python"))
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    return parser.parse_args()


def main() -> None:
    options = _options()
    saelens = options.saelens.absolute()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        harvests = _prepare(folder, options.rows)
        cached = _prepare_saelens(saelens, folder) if saelens.exists() else ""
        cases = _cases(folder, harvests, cached)
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
        for _ in range(options.rounds):
            for name, case in cases.items():
                results[name].append(_run(saelens if case.side == "saelens" else sys.executable, case))
    print(
        f"{_processor()}, {os.cpu_count()} cores, {options.rows:,} rows of {WIDTH}, batches of {BATCH_ROWS:,}"
    )
    _print(results)
    names = ("torch", "numpy", "numba", "pyarrow")
    record = {
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in names}
        | {"python": platform.python_version()}
        | ({"sae-lens": _saelens_version(saelens)} if cached else {}),
        "sizes": {"rows": options.rows, "width": WIDTH, "batch_rows": BATCH_ROWS, "rounds": options.rounds},
        "seed": 0,
        "limit_rows_per_s": {
            f"{encoding}, {threads} threads": _rate(results[f"raw {encoding} {threads}"])
            for encoding in ENCODINGS
            for threads in (1, 2)
        },
        "goals": {"of_raw": GOAL_OF_RAW, "of_saelens": GOAL_OF_SAELENS},
        "results": results,
    }
    options.out.mkdir(exist_ok=True)
    (options.out / "reader.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
