"""Exemplars of every latent from the same sparse codes: ours beside Delphi's cache and constructor.

    PYTHONPATH=tests/bench:tests python tests/bench/bench_exemplars.py [--tokens 131072 1048576] [--rounds 1]

Each side is a process of its own, in turn, at two sizes a factor of eight apart. Ours is timed from the stored harvest
to the published artifact: both passes over the codes, every kind of exemplar in four splits, statistics, and writing;
and once more with options that make about as many examples of the kinds that Delphi makes.
Delphi is timed from codes in memory: saving them in its splits, loading, constructing and sampling (see
exemplars/delphi.py). The limit is one read of the codes, checked. Clocks on a
shared machine tell less than CPU time, which is beside them. Prints a table and writes JSON.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from exemplars.case import CONTEXT_TOKENS, NUM_LATENTS, SEQUENCE_LENGTH, Case, K
from exemplars.codes import write_codes

HERE = Path(__file__).parent
GOAL_OF_DELPHI = 5.0
MODULES = {"alike": "ours"}
"""Ours with options that make about what Delphi makes; the side `ours` makes all that it makes by default."""
TIMEOUT_S = 3600
SEED = 0
WARM_TOKENS = 64 * SEQUENCE_LENGTH


def _run(python: Path | str, case: Case) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), "-m", f"exemplars.{MODULES.get(case.side, case.side)}", case.to_argument()],
        capture_output=True,
        text=True,
        cwd=HERE,
        timeout=TIMEOUT_S,
    )
    if done.returncode != 0:
        return {"failed": (done.stderr.splitlines() or ["no output"])[-1][:300]}
    result = dict(json.loads(done.stdout.strip().splitlines()[-1]))
    return result | {
        "total_s": sum(result["seconds"].values()),
        "total_cpu_s": sum(result["cpu_seconds"].values()),
    }


def _measure(
    options: argparse.Namespace, folder: Path, num_tokens: int, number: int
) -> dict[str, dict[str, Any]]:
    """One round at one size: codes of a seed of their own, each side on them."""
    place = folder / f"{num_tokens}-{number}"
    place.mkdir()
    harvest = write_codes(place, options.tokenizer, num_tokens, SEED + number)
    results = {}
    sides = {
        "read": sys.executable,
        "ours": sys.executable,
        "alike": sys.executable,
        "delphi": options.delphi,
    }
    for side, python in sides.items():
        if not Path(python).exists():
            continue
        out = place / f"out-{side}"
        out.mkdir()
        for built in (place, folder / "warm"):
            shutil.rmtree(built / "store/features", ignore_errors=True)
        results[side] = _run(python, Case(side, str(place), harvest, options.tokenizer, str(out)))
    shutil.rmtree(place)
    return results


def _print(num_tokens: int, rounds: list[dict[str, dict[str, Any]]]) -> None:
    print(f"\n{num_tokens:,} tokens")
    columns = f"{'tokens/s':>11}{'latents':>9}{'examples':>11}{'peak MiB':>10}{'before MiB':>12}"
    print(f"{'side':<9}{'s':>8}{'CPU s':>8}{columns}")
    for side in rounds[0]:
        runs = [item[side] for item in rounds]
        if any("failed" in run for run in runs):
            print(f"{side:<9}  failed: {next(run['failed'] for run in runs if 'failed' in run)}")
            continue
        total_s = median(run["total_s"] for run in runs)
        latents, examples = (runs[0].get(name, "") for name in ("num_latents", "num_examples"))
        peak, before = (max(run[name] for run in runs) for name in ("peak_rss_mib", "rss_before_mib"))
        cpu_s, rate = median(run["total_cpu_s"] for run in runs), num_tokens / total_s
        print(
            f"{side:<9}{total_s:>8.2f}{cpu_s:>8.2f}{rate:>11.0f}{latents:>9}{examples:>11}{peak:>10.0f}{before:>12.0f}"
        )
        if side == "delphi":
            for other in ("ours", "alike"):
                runs = [item[other] for item in rounds]
                clock, cpu = (median(run[name] for run in runs) for name in ("total_s", "total_cpu_s"))
                gains = f"{total_s / clock:.1f} x as fast, {cpu_s / cpu:.1f} x by CPU time"
                print(f"{other}: {gains}; goal {GOAL_OF_DELPHI:.0f} x")


def _delphi_versions(python: Path) -> dict[str, str]:
    names = ("eai-delphi", "torch", "numpy")
    code = f"import json; from importlib.metadata import version; print(json.dumps([version(n) for n in {names}]))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return {f"delphi's {name}": found for name, found in zip(names, json.loads(done.stdout), strict=True)}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def _options() -> argparse.Namespace:
    from thresher.runtime.local.bundled import prepare_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1 << 17, 1 << 20])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tokenizer", default=str(prepare_model()))
    parser.add_argument("--delphi", type=Path, default=Path(".venvs/peers-label/bin/python"))
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    return parser.parse_args()


def main() -> None:
    options = _options()
    options.delphi = options.delphi.absolute()
    print(
        f"{_processor()}, {os.cpu_count()} cores, {NUM_LATENTS:,} latents, {K} a token, load {os.getloadavg()[0]:.1f}"
    )
    results: dict[str, list[dict[str, dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        warm = folder / "warm"
        warm.mkdir()
        harvest = write_codes(warm, options.tokenizer, WARM_TOKENS, SEED)
        (folder / "warm.json").write_text(json.dumps({"folder": str(warm), "harvest": harvest}))
        for num_tokens in options.tokens:
            rounds = [_measure(options, folder, num_tokens, number) for number in range(options.rounds)]
            results[str(num_tokens)] = rounds
            _print(num_tokens, rounds)
    record = {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "versions": {name: version(name) for name in ("torch", "numpy", "numba", "pyarrow")}
        | {"python": platform.python_version()}
        | (_delphi_versions(options.delphi) if options.delphi.exists() else {}),
        "sizes": {"latents": NUM_LATENTS, "k": K, "sequence": SEQUENCE_LENGTH, "context": CONTEXT_TOKENS},
        "seed": SEED,
        "goals": {"of_delphi": GOAL_OF_DELPHI},
        "results": results,
    }
    options.out.mkdir(exist_ok=True)
    (options.out / "exemplars.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
