"""Tokens a second of a harvest beside plain vLLM prefill of the same tokens, model and dtype, in one run.

    python tests/bench/bench_harvest.py [--sequences 128] [--rounds 2] [--out bench-results]

Each side runs in a process of its own, the sides in turn; the plain side is the same engine, its hooks unarmed.
Prints a table and writes JSON. The limit beside the figures is the dense arithmetic of the layers at this
machine's measured GEMM rate.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

SIDES = {
    "plain vLLM prefill, all layers": {"taps": False, "stop_early": False},
    "harvest of 2 sites, all layers": {"taps": True, "stop_early": False},
    "harvest of 2 sites, stopping early": {"taps": True, "stop_early": True},
}
SITES = ["resid_post.9", "resid_post.18"]
LENGTH = 256


def _measure(side: str, root: str, corpus: str, model: str, dtype: str, sequences: int) -> float:
    """Tokens a second over one shard, after a warm-up shard. Runs in a process of its own."""
    from thresher.harvest.engine import HarvestEngine
    from thresher.harvest.plan import ShardPlan
    from thresher.harvest.spec import HarvestSpec

    spec = HarvestSpec.parse(
        {
            "root": root,
            "corpus": corpus,
            "model": model,
            "sites": SITES,
            "dtype": dtype,
            "engine": {"stop_early": SIDES[side]["stop_early"]},
        }
    )

    def plan(index: int, count: int) -> ShardPlan:
        return ShardPlan(
            artifact="activations/bench",
            index=index,
            first_sequence=0,
            num_sequences=count,
            sequence_length=LENGTH,
        )

    with HarvestEngine(spec, LENGTH) as engine:
        # Without an open shard the worker's step is vLLM's own, so that both sides share every other setting.
        run = engine.harvest if SIDES[side]["taps"] else engine.prefill
        run(plan(0, 16))
        start_s = time.perf_counter()
        run(plan(1, sequences))
        return sequences * LENGTH / (time.perf_counter() - start_s)


def _gemm_gflops(dtype: str) -> float:
    import torch

    x = torch.randn(4096, 576, dtype=getattr(torch, dtype))
    w = torch.randn(576, 1536, dtype=getattr(torch, dtype))
    times = []
    for _ in range(20):
        start_s = time.perf_counter()
        x @ w
        times.append(time.perf_counter() - start_s)
    return 2 * 4096 * 576 * 1536 / min(times) / 1e9


def _prepare(root: str, sequences: int) -> dict[str, str]:
    from thresher.corpus.build import build_corpus
    from thresher.corpus.spec import CorpusSpec
    from thresher.runtime.cpu_features import fast_dtype
    from thresher.runtime.local.bundled import prepare_model

    model = str(prepare_model())
    corpus = build_corpus(
        CorpusSpec.parse(
            {
                "root": root,
                "sources": [{"kind": "bundled", "name": "wikipedia_summaries"}],
                "tokenizer": model,
                "sequence_length": LENGTH,
                "max_tokens": sequences * LENGTH,
                "splits": {"fit": 1.0, "explain": 0.0, "report": 0.0},
            }
        )
    )
    return {"corpus": corpus.corpus_id, "model": model, "dtype": fast_dtype()}


def _child(side: str, root: str, given: dict[str, str], sequences: int) -> float:
    command = [sys.executable, __file__, "--child", side, "--root", root, "--sequences", str(sequences)]
    command += ["--given", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--child")
    parser.add_argument("--root")
    parser.add_argument("--given")
    options = parser.parse_args()
    if options.child:
        print(_measure(options.child, options.root, sequences=options.sequences, **json.loads(options.given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = f"file://{folder}/root"
        given = _prepare(root, options.sequences)
        rates: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(options.rounds):
            for side in SIDES:
                rates[side].append(_child(side, root, given, options.sequences))
    _report(rates, given, options)


def _report(rates: dict[str, list[float]], given: dict[str, str], options: argparse.Namespace) -> None:
    import torch
    import vllm

    gflops = _gemm_gflops(given["dtype"])
    weights_a_layer = 576 * (576 + 2 * 192 + 576) + 3 * 576 * 1536
    limit = {
        side: gflops * 1e9 / (2 * weights_a_layer * (19 if how["stop_early"] else 30))
        for side, how in SIDES.items()
    }
    base = median(rates[next(iter(SIDES))])
    print(f"{'side':<36}{'tokens/s':>10}{'ratio':>8}{'limit':>10}")
    for side, values in rates.items():
        print(f"{side:<36}{median(values):>10,.0f}{median(values) / base:>8.2f}{limit[side]:>10,.0f}")
    options.out.mkdir(exist_ok=True)
    record = {
        "machine": {"processor": platform.processor(), "cores": torch.get_num_threads()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "vllm": vllm.__version__,
        },
        "sizes": {
            "sequences": options.sequences,
            "sequence_length": LENGTH,
            "sites": SITES,
            "rounds": options.rounds,
        },
        "dtype": given["dtype"],
        "gemm_gflops": gflops,
        "tokens_per_s": rates,
        "limit_tokens_per_s": limit,
    }
    (options.out / "harvest.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
