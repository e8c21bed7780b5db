"""Labelling by thresher and by Delphi: calls, tokens, time, intervals and what the labels are worth, in one run.

    PYTHONPATH=tests/bench:tests python tests/bench/bench_label.py [--parts main,simulation,widths,real] [--latents 32]

Both sides label the same planted latents from the same windows (label/planted.py) through the same server, each in a
process of its own, in turn; Delphi in its own environment. The server is scripted (label/server.py: a GPU's latency, a
concurrency limit, planted errors), and for `real` vLLM over the bundled model. Prints tables and writes JSON. The limit
beside a time is the server's: prompts at the rate of its prefill, or latencies over the requests in flight.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from label.case import LATENTS_FILE, Case
from label.judge import Judge
from label.planted import NUM_FIRING, WINDOW_TOKENS, PlantedLatent, plant, publish, write_for_peers
from label.profiles import PROFILES
from label.report import print_judged, print_main, print_widths

from thresher.runtime.local.bundled import prepare_model
from thresher.runtime.local.llm_server import start_llm_server

HERE = Path(__file__).parent
TIMEOUT_S = 3600
DELPHI = {
    "num_train": 40,
    "num_test": 50,
    "max_tokens": 3000,
    "scorers": ["detection", "fuzz"],
    "latents_at_once": 16,
}
"""Its defaults, but for 16 latents at a time with two scorers each, so that 32 requests are in flight."""
DETECTION_ONLY = {"simulation": None, "baseline": {"num_shuffles": 0}}
MANY_EXEMPLARS = {"explainer": {"num_exemplars": 10, "num_quantile": 30}}
"""As many as Delphi shows its explainer, and spread as there."""
WIDTHS_OURS = (5, 10, 25)
WIDTHS_DELPHI = (10, 50)
JOINT_SIZES = (5, 25)
SIMULATED_LATENTS = 4


class Bench:
    """One folder with the latents, and the sides run over it."""

    def __init__(self, folder: Path, options: argparse.Namespace, latents: Sequence[PlantedLatent]) -> None:
        self._folder, self._options = folder, options
        shutil.copy(prepare_model() / "tokenizer.json", folder)
        shutil.copy(prepare_model() / "tokenizer_config.json", folder)
        write_for_peers(folder / LATENTS_FILE, latents)
        publish(f"file://{folder}/planted", latents)

    def run(self, side: str, name: str, server: dict[str, Any], **options: Any) -> dict[str, Any]:
        """One side, from nothing; `failed` holds the reason if it did not end well."""
        if side == "ours":
            shutil.copytree(self._folder / "planted", self._folder / name)
            options["store"] = name
        case = Case(
            side=side,
            name=name,
            folder=str(self._folder),
            base_url=server["base_url"],
            model=server["model"],
            concurrency=self._options.concurrency,
            seed=self._options.seed,
            is_scripted=server["is_scripted"],
            options=options,
        )
        module = "label.ours" if side == "ours" else "label.delphi_side"
        done = subprocess.run(
            [
                sys.executable if side == "ours" else self._options.peer_python,
                "-m",
                module,
                case.to_argument(),
            ],
            capture_output=True,
            text=True,
            cwd=HERE,
            timeout=TIMEOUT_S,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
                ),
                "HF_HUB_OFFLINE": "1",
                "OPENAI_API_KEY": server["api_key"],
            },
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "Error" in line]
            return {"failed": (lines or done.stderr.splitlines() or ["no output"])[-1][:300]}
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))

    def judge(
        self, server: dict[str, Any], labels: dict[str, str | None], num_windows: int
    ) -> dict[str, Any]:
        reached = (server["base_url"], server["model"], server["api_key"])
        judge = Judge(*reached, str(self._folder), self._options.concurrency, num_windows)
        latents = json.loads((self._folder / LATENTS_FILE).read_text())
        return asdict(asyncio.run(judge.judge(latents, labels, self._options.seed)))

    @contextmanager
    def scripted(self, profile: str) -> Iterator[dict[str, Any]]:
        """The server in a process of its own."""
        port = _free_port()
        command = [sys.executable, "-m", "label.server", str(self._folder), str(port), profile]
        process = subprocess.Popen(
            [*command, str(self._options.error_rate)],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])},
        )
        try:
            _wait(f"http://127.0.0.1:{port}/v1/models", process)
            base_url = f"http://127.0.0.1:{port}/v1"
            yield {"base_url": base_url, "model": "scripted", "api_key": "none", "is_scripted": True}
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.URLError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the scripted server did not start")


def main_part(bench: Bench, profile: str, num_latents: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides with their defaults; what the labels are worth."""
    with bench.scripted(profile) as server:
        runs = {
            "ours": bench.run("ours", f"ours-{profile}", server, spec={}),
            "ours, 40 exemplars": bench.run("ours", f"many-{profile}", server, spec=MANY_EXEMPLARS),
            "ours, detection alone": bench.run("ours", f"alone-{profile}", server, spec={"simulation": None}),
            "Delphi": bench.run("delphi", f"default-{profile}", server, **DELPHI),
            "Delphi, a latent at a time": bench.run(
                "delphi", f"one-{profile}", server, **DELPHI | {"latents_at_once": 1, "num_latents": 4}
            ),
        }
        judged = {
            side: bench.judge(server, runs[side]["labels"], 25)
            for side in ("ours", "ours, 40 exemplars", "Delphi")
            if "labels" in runs[side]
        }
    print_main(f"{profile} profile", runs, num_latents, options.concurrency)
    print_judged(judged)
    return {"runs": runs, "judged": judged}


def widths_part(bench: Bench, num_latents: int, options: argparse.Namespace) -> dict[str, Any]:
    """Detection alone, over numbers of contexts."""
    runs = {}
    with bench.scripted("small") as server:
        for count in WIDTHS_OURS:
            spec = DETECTION_ONLY | {"detection": {"num_active": count, "num_inactive": count}}
            runs[f"ours, {2 * count} contexts"] = bench.run("ours", f"width-{count}", server, spec=spec)
        for size in JOINT_SIZES:
            detection = {"num_active": 25, "num_inactive": 25, "contexts_per_prompt": size}
            spec = DETECTION_ONLY | {"detection": detection}
            runs[f"ours, 50 contexts, {size} a call"] = bench.run("ours", f"joint-{size}", server, spec=spec)
        for count in WIDTHS_DELPHI:
            changes = DELPHI | {"num_test": count, "scorers": ["detection", "fuzz"]}
            runs[f"Delphi, {2 * count} examples"] = bench.run("delphi", f"width-{count}", server, **changes)
    rows = print_widths(runs, num_latents, options.seed)
    return {"runs": runs, "rows": rows}


def simulation_part(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides' simulation alone, of a few latents: Delphi's takes one long answer a window, and minutes a latent."""
    with bench.scripted("small") as server:
        changes = DELPHI | {"scorers": ["simulation"], "num_latents": SIMULATED_LATENTS}
        spec = {
            "detection": None,
            "baseline": {"num_shuffles": 0},
            "features": {"selection": list(range(SIMULATED_LATENTS))},
        }
        runs = {
            "ours, simulation": bench.run("ours", "simulation", server, spec=spec),
            "Delphi, simulation": bench.run("delphi", "simulation", server, **changes),
        }
    print_main("small profile, simulation", runs, SIMULATED_LATENTS, options.concurrency)
    return {"runs": runs}


def real_part(bench: Bench, num_latents: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides against vLLM over the bundled model."""
    with tempfile.TemporaryDirectory() as folder:
        llm = start_llm_server(prepare_model(), "smollm2-135m", Path(folder))
        try:
            server = {
                "base_url": llm.environment["OPENAI_BASE_URL"],
                "api_key": llm.environment["OPENAI_API_KEY"],
                "model": "smollm2-135m",
                "is_scripted": False,
            }
            # The server's context is 2,048 tokens: fewer examples, shorter answers than by default.
            changes = DELPHI | {
                "num_train": 10,
                "num_test": 10,
                "max_tokens": 100,
                "api_key": server["api_key"],
            }
            runs = {
                "ours": bench.run("ours", "real", server, spec={}),
                "Delphi": bench.run("delphi", "real", server, **changes),
            }
            judged = {
                side: bench.judge(server, run["labels"], 10)
                for side, run in runs.items()
                if "failed" not in run
            }
        finally:
            llm.stop()
    print_main("vLLM, SmolLM2-135M", runs, num_latents, options.concurrency)
    print_widths(runs, num_latents, options.seed)
    print_judged(judged)
    return {"runs": runs, "judged": judged}


def _record(options: argparse.Namespace, results: dict[str, Any]) -> dict[str, Any]:
    code = "import importlib.metadata as m; print(m.version('eai-delphi'), m.version('httpx'))"
    peer = subprocess.check_output([options.peer_python, "-c", code], text=True).split()
    return {
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            "openai": version("openai"),
            "thresher": version("thresher"),
            "eai-delphi": peer[0],
            "peer's httpx": peer[1],
        },
        "sizes": {
            "latents": options.latents,
            "real_latents": options.real_latents,
            "window_tokens": WINDOW_TOKENS,
            "firing_windows": NUM_FIRING,
            "concurrency": options.concurrency,
            "error_rate": options.error_rate,
            "profiles": {name: asdict(profile) for name, profile in PROFILES.items()},
        },
        "seeds": {"latents": options.seed, "sides": options.seed},
        "goals": {"share_outside": 0.05, "calls_of_delphi_for_same_width": 1 / 3},
        "results": results,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="main,simulation,widths,real")
    parser.add_argument("--profiles", default="large,small")
    parser.add_argument("--latents", type=int, default=32)
    parser.add_argument("--real-latents", type=int, default=6)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument(
        "--error-rate", type=float, default=0.15, help="of the scripted server's yes-no answers"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-python", default=".venvs/peers-label/bin/python")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    return parser.parse_args()


def main() -> None:
    options = _options()
    options.peer_python = str(Path(options.peer_python).absolute())
    latents = plant(str(prepare_model()), options.latents, options.seed)
    results: dict[str, Any] = {}
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options, latents)
        if "main" in parts:
            for profile in options.profiles.split(","):
                results[f"main {profile}"] = main_part(bench, profile, options.latents, options)
        if "simulation" in parts:
            results["simulation"] = simulation_part(bench, options)
        if "widths" in parts:
            results["widths"] = widths_part(bench, options.latents, options)
    if "real" in parts:
        with tempfile.TemporaryDirectory() as name:
            bench = Bench(Path(name), options, latents[: options.real_latents])
            results["real"] = real_part(bench, options.real_latents, options)
    options.out.mkdir(exist_ok=True)
    (options.out / "label.json").write_text(json.dumps(_record(options, results), indent=1) + "\n")


if __name__ == "__main__":
    main()
