"""Delphi's side: its explainer, its scorers and its pipeline, over records made from the same windows.

Its explain and score windows are of different documents here, which its own sampler does not see to.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import orjson
import torch
from delphi.clients import OpenRouter
from delphi.explainers import DefaultExplainer
from delphi.latents import ActivatingExample, Latent, LatentRecord, NonActivatingExample
from delphi.latents.samplers import normalize_activations, split_quantiles
from delphi.pipeline import Pipe, Pipeline, process_wrapper
from delphi.scorers import DetectionScorer, FuzzingScorer, OpenAISimulator
from transformers import AutoTokenizer

from label.case import Case, Meter, say

EXAMPLES_A_PROMPT = 5
NUM_QUANTILES = 10


def _active(window: dict[str, Any]) -> ActivatingExample:
    return ActivatingExample(
        tokens=torch.tensor(window["token_ids"]),
        activations=torch.tensor(window["activations"]),
        str_tokens=window["tokens"],
    )


def _silent(window: dict[str, Any]) -> NonActivatingExample:
    return NonActivatingExample(
        tokens=torch.tensor(window["token_ids"]),
        activations=torch.tensor(window["activations"]),
        str_tokens=window["tokens"],
    )


def _quantiles(examples: list[ActivatingExample], count: int) -> list[ActivatingExample]:
    """As its `train` and `test` sample: evenly of each quantile, normalised by the strongest."""
    strongest = max(example.max_activation for example in examples)
    return normalize_activations(split_quantiles(examples, NUM_QUANTILES, count), strongest)


def _record(latent: dict[str, Any], options: dict[str, Any]) -> LatentRecord:
    record = LatentRecord(Latent("planted", latent["feature"]))
    record.train = _quantiles([_active(item) for item in latent["explain_firing"]], options["num_train"])
    record.test = _quantiles([_active(item) for item in latent["report_firing"]], options["num_test"])
    record.not_active = [_silent(item) for item in latent["report_silent"][: options["num_test"]]]
    record.examples = record.test
    return record


def _explained(result: Any) -> LatentRecord:
    record: LatentRecord = result.record
    record.explanation = result.explanation
    record.extra_examples = record.not_active
    return record


class TokenByToken:
    """A tokenizer that decodes every id by itself: transformers 5 takes them for one text, and Delphi 0.1.3 does not
    expect it."""

    def __init__(self, folder: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def batch_decode(self, tokens: torch.Tensor) -> list[str]:
        return [self._tokenizer.decode([token]) for token in tokens.tolist()]


def _scorer(name: str, client: OpenRouter, folder: str) -> Any:
    if name == "simulation":
        return OpenAISimulator(client, tokenizer=TokenByToken(folder), all_at_once=False)
    kind = {"detection": DetectionScorer, "fuzz": FuzzingScorer}[name]
    return kind(client, n_examples_shown=EXAMPLES_A_PROMPT, verbose=False, log_prob=False)


def main(case: Case) -> None:
    options = case.options
    logging.getLogger("delphi").setLevel(logging.CRITICAL)
    latents = case.latents()[: options.get("num_latents")]
    documents = {
        "".join(window["tokens"]): window["doc_id"]
        for latent in latents
        for kind in ("firing", "silent")
        for window in latent[f"report_{kind}"]
    }
    answers: list[dict[str, Any]] = []
    labels: dict[str, str] = {}

    def keep(scorer: str, result: Any) -> None:
        labels[str(result.record.latent.latent_index)] = result.record.explanation
        file = Path(case.folder) / f"delphi-{case.name}-{scorer}-{result.record.latent}.txt"
        file.write_bytes(orjson.dumps(result.score))  # as its own main does
        if scorer == "simulation":
            return
        answers.extend(
            {
                "feature": result.record.latent.latent_index,
                "score_type": scorer,
                "doc_id": documents["".join(item.str_tokens)],
                "activating": item.activating,
                "prediction": item.prediction,
            }
            for item in result.score
        )

    async def run() -> None:
        client = OpenRouter(
            case.model,
            api_key=options.get("api_key", "none"),
            base_url=f"{case.base_url}/chat/completions",
            max_tokens=options["max_tokens"],
            temperature=0.0,
        )
        explainer = process_wrapper(DefaultExplainer(client, threshold=0.3), postprocess=_explained)
        scorers = [
            process_wrapper(
                _scorer(name, client, case.folder), postprocess=lambda result, name=name: keep(name, result)
            )
            for name in options["scorers"]
        ]
        records = (_record(latent, options) for latent in latents)
        await Pipeline(lambda: records, explainer, Pipe(*scorers)).run(options["latents_at_once"])

    with Meter(case) as meter:
        asyncio.run(run())
    say({**meter.measured, "labels": labels, "answers": answers, "num_latents": len(latents)})


if __name__ == "__main__":
    main(Case.from_arguments())
