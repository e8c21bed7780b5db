"""The tables."""

from collections.abc import Mapping
from typing import Any

from label.widths import REFERENCE_WIDTH, calls_for_width, of_answers, of_scores

NAME_WIDTH = 28


def print_main(title: str, runs: Mapping[str, dict[str, Any]], num_latents: int, concurrency: int) -> None:
    """Calls, tokens and time of each run; adds the derived figures to it."""
    print(f"\n{title}, {num_latents} latents, concurrency {concurrency}")
    heads = (
        "calls/latent",
        "prompt",
        "of it cached",
        "completion",
        "wall s",
        "limit s",
        "outside",
        "in flight",
    )
    print(
        f"{'':<{NAME_WIDTH}}"
        + "".join(f"{head:>14}" for head in (*heads, "CPU s", "CPU ms/call", "late p95 ms"))
    )
    for name, run in runs.items():
        if "failed" in run:
            print(f"{name:<{NAME_WIDTH}}failed: {run['failed']}")
            continue
        run["figures"] = figures = _figures(run, run.get("num_latents", num_latents), concurrency)
        cells = (
            f"{figures['calls_per_latent']:,.1f}",
            f"{figures['prompt_tokens_per_latent']:,.0f}",
            _percent(figures["cached_share"]),
            f"{figures['completion_tokens_per_latent']:,.0f}",
            f"{run['wall_s']:,.1f}",
            _number(figures["limit_s"], ",.1f"),
            _percent(figures["outside_share"]),
            _number(figures["mean_in_flight"], ".1f"),
            f"{run['client_cpu_s']:,.2f}",
            _number(figures["cpu_ms_per_call"], ".2f"),
            _number(figures["late_p95_ms"], ".1f"),
        )
        print(f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>14}" for cell in cells))


def _figures(run: dict[str, Any], num_latents: int, concurrency: int) -> dict[str, float | None]:
    server = run.get("server")
    if server is None:
        calls, nan = run.get("num_calls", {}), float("nan")
        return {
            "calls_per_latent": sum(calls.values()) / num_latents if calls else nan,
            "prompt_tokens_per_latent": run.get("num_prompt_tokens", nan) / num_latents,
            "completion_tokens_per_latent": run.get("num_completion_tokens", nan) / num_latents,
            **dict.fromkeys(("cached_share", "limit_s", "outside_share", "mean_in_flight")),
            **dict.fromkeys(("cpu_ms_per_call", "late_p95_ms")),
        }
    calls, prompt = sum(server["num_calls"].values()), sum(server["prompt_tokens"].values())
    return {
        "calls_per_latent": calls / num_latents,
        "prompt_tokens_per_latent": prompt / num_latents,
        "cached_share": sum(server["cached_tokens"].values()) / prompt,
        "completion_tokens_per_latent": sum(server["completion_tokens"].values()) / num_latents,
        "limit_s": max(server["prefill_s"], server["unloaded_s"] / concurrency),
        "outside_share": 1 - server["busy_s"] / run["wall_s"],
        "mean_in_flight": server["request_s"] / run["wall_s"],
        "cpu_ms_per_call": 1e3 * run["client_cpu_s"] / calls,
        "late_p95_ms": 1e3 * server["late_p95_s"],
    }


def print_widths(runs: Mapping[str, dict[str, Any]], num_latents: int, seed: int) -> list[dict[str, Any]]:
    """Width of the 95 % intervals, and calls and tokens a latent for an interval of the reference width."""
    heads = (
        "value",
        "contexts",
        "unparsed",
        "width",
        "lift's width",
        "calls",
        f"for {REFERENCE_WIDTH:g}",
        "tokens for it",
    )
    print(f"\n{'':<{NAME_WIDTH}}{'score':<18}" + "".join(f"{head:>14}" for head in heads))
    rows = []
    for name, run in runs.items():
        if "failed" in run:
            print(f"{name:<{NAME_WIDTH}}failed: {run['failed']}")
            continue
        for score_type in _score_types(run):
            row = _width_row(run, score_type, num_latents, seed)
            rows.append({"run": name, "score_type": score_type, **row})
            cells = (
                _number(row["value"], ".3f"),
                f"{row['contexts']:,.1f}",
                f"{row['unparsed']:,.1f}",
                _number(row["width"], ".3f"),
                _number(row["lift_width"], ".3f"),
                _number(row["calls"], ".1f"),
                _number(row["calls_for_width"], ",.1f"),
                _number(row["tokens_for_width"], ",.0f"),
            )
            print(f"{name:<{NAME_WIDTH}}{score_type:<18}" + "".join(f"{cell:>14}" for cell in cells))
    return rows


def _score_types(run: dict[str, Any]) -> list[str]:
    rows = run["scores"] if "scores" in run else run["answers"]
    return sorted({row["score_type"] for row in rows})


def _width_row(run: dict[str, Any], score_type: str, num_latents: int, seed: int) -> dict[str, Any]:
    found = (
        of_scores(run["scores"], score_type)
        if "scores" in run
        else of_answers(run["answers"], score_type, seed)
    )
    server = run.get("server")
    if server is None or not found["width"]:
        return found | dict.fromkeys(("calls", "calls_for_width", "tokens_for_width"))
    asked_for = score_type.removesuffix("_auroc")  # of the same answers
    calls = server["num_calls"][asked_for] / num_latents
    tokens = sum(server[f"{kind}_tokens"][asked_for] for kind in ("prompt", "completion")) / num_latents
    needed = calls_for_width(calls, found["width"])
    return found | {
        "calls": calls,
        "calls_for_width": needed,
        "tokens_for_width": tokens * needed / calls if needed else None,
    }


def print_judged(judged: Mapping[str, dict[str, Any]]) -> None:
    """Labels of both sides by one protocol on fresh windows."""
    print(
        f"\n{'labels judged on fresh windows':<34}{'labels':>8}{'true':>8}{'shuffled':>10}{'lift':>8}{'95 %':>16}"
    )
    for side, found in judged.items():
        interval = f"{found['lift_low']:.3f} to {found['lift_high']:.3f}"
        print(
            f"{side:<34}{found['num_labels']:>8}{found['true']:>8.3f}{found['shuffled']:>10.3f}"
            f"{found['lift']:>8.3f}{interval:>16}"
        )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
