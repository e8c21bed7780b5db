"""Rows a second, peak memory and quality of dictionaries fitted by thresher and by its peers, in one run.

    PYTHONPATH=tests/bench python tests/bench/bench_fit.py [--latents 4608,16384] [--steps 100] [--sides ours,saelens,…]

All sides take the same steps on the same float32 rows (fit/rows.py) with the same batch, rate and seed, each in a
process of its own, in turn; peers in an environment of their own. Prints tables and writes JSON. The limit beside the
figures is the encoder's GEMM alone, at the rates measured in the same run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fit.case import BATCH_ROWS, D_IN, Case, K
from fit.rows import write_rows

HERE = Path(__file__).parent
SIDES = {
    "ours": ("topk", "batch_topk", "jumprelu"),
    "saelens": ("topk", "batch_topk", "jumprelu"),
    "dictionary_learning": ("topk", "batch_topk", "jumprelu"),
    "sparsify": ("topk",),
}
PEERS = {"saelens": "sae-lens", "dictionary_learning": "dictionary-learning", "sparsify": "eai-sparsify"}
GOALS = {"saelens": 5.0, "dictionary_learning": 5.0, "sparsify": 2.5}
GOAL_OF_GEMM = 2.5
TIMEOUT_S = 3600


def _run(case: Case, peer_python: str) -> dict[str, Any]:
    """One run of a side; `failed` holds the reason if it did not end well."""
    python = sys.executable if case.side == "ours" else peer_python
    done = subprocess.run(
        [python, "-m", f"fit.{case.side}", case.to_argument()],
        capture_output=True,
        text=True,
        cwd=HERE,
        timeout=TIMEOUT_S,
        env={**os.environ, "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        return {"failed": (lines or done.stderr.splitlines() or ["no output"])[-1][:200]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def gemm_seconds(num_latents: int, dtype: str) -> float:
    """Of the encoder's GEMM of one batch, at best."""
    import torch

    x_BD = torch.randn(BATCH_ROWS, D_IN, dtype=getattr(torch, dtype))
    W_FD = torch.randn(num_latents, D_IN, dtype=getattr(torch, dtype))
    z_BF = torch.empty(BATCH_ROWS, num_latents, dtype=getattr(torch, dtype))
    seconds = []
    for _ in range(7):
        start_s = time.perf_counter()
        torch.mm(x_BD, W_FD.T, out=z_BF)
        seconds.append(time.perf_counter() - start_s)
    return min(seconds)


def _print_latents(num_latents: int, runs: dict[str, dict[str, Any]], limits: dict[str, float]) -> None:
    said = ", ".join(f"{dtype} {seconds * 1e3:,.0f} ms" for dtype, seconds in limits.items())
    print(f"\n{num_latents:,} latents; the encoder's GEMM alone: {said}")
    heads = ("rows/s", "step", "of bf16 GEMM", "ours is", "peak RSS", "of it training", "FVU", "L0")
    print(f"{'':<12}{'':<21}" + "".join(f"{head:>15}" for head in heads))
    for name, run in runs.items():
        architecture, side = name.split("/")
        if "failed" in run:
            print(f"{architecture:<12}{side:<21}failed: {run['failed']}")
            continue
        ours = runs.get(f"{architecture}/ours", {}).get("rows_per_s", float("nan"))
        cells = (
            f"{run['rows_per_s']:,.0f}",
            f"{run['step_s'] * 1e3:,.0f} ms",
            f"{run['step_s'] / limits['bfloat16']:.2f}",
            f"{ours / run['rows_per_s']:.2f}x",
            f"{run['peak_mib']:,.0f} MiB",
            f"{run['training_mib']:,.0f} MiB",
            f"{run['fvu']:.4f}",
            f"{run['l0']:.1f}",
        )
        print(f"{architecture:<12}{side:<21}" + "".join(f"{cell:>15}" for cell in cells))


def _versions(peer_python: str) -> dict[str, str]:
    from importlib.metadata import version

    names = json.dumps(["torch", *PEERS.values()])
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names}}}))"
    peers = json.loads(subprocess.check_output([peer_python, "-c", code], text=True))
    return {"python": platform.python_version(), "torch": version("torch"), "numba": version("numba")} | {
        f"peers' {name}": found for name, found in peers.items()
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", default="4608,16384")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--architectures", default="topk,batch_topk,jumprelu")
    parser.add_argument("--peer-python", default=".venvs/peers-fit/bin/python")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    return parser.parse_args()


def main() -> None:
    options = _options()
    peer_python = str(Path(options.peer_python).absolute())
    print(
        f"{_processor()}, {options.threads} threads; d {D_IN}, k {K}, batch {BATCH_ROWS}, {options.steps} steps"
    )
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), options.seed)
        for num_latents in map(int, options.latents.split(",")):
            limits = {dtype: gemm_seconds(num_latents, dtype) for dtype in ("bfloat16", "float32")}
            runs = {}
            for architecture in options.architectures.split(","):
                for side in options.sides.split(","):
                    if architecture in SIDES[side]:
                        case = Case(
                            side,
                            architecture,
                            num_latents,
                            options.steps,
                            options.seed,
                            options.threads,
                            folder,
                        )
                        runs[f"{architecture}/{side}"] = _run(case, peer_python)
            _print_latents(num_latents, runs, limits)
            results[str(num_latents)] = {"gemm_s": limits, "runs": runs}
    record = {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "threads": options.threads},
        "versions": _versions(peer_python),
        "sizes": {
            "d_in": D_IN,
            "k": K,
            "batch_rows": BATCH_ROWS,
            "steps": options.steps,
            "seed": options.seed,
        },
        "goals": {"of_bfloat16_gemm": GOAL_OF_GEMM, "times_peer": GOALS},
        "results": results,
    }
    options.out.mkdir(exist_ok=True)
    (options.out / "fit.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
