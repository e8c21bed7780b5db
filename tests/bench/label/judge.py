"""One protocol for the labels of both sides: yes or no, on windows that neither has seen, true labels against shuffled.

Shapes: L latents.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from thresher.labeling.endpoints.completions import read_first_token_logprobs
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.scorers.detection import WORDING
from thresher.labeling.scorers.yes_no import yes_share
from thresher.labeling.shuffling import similar_partners

NUM_RESAMPLES = 2000
NUM_LOGPROBS = 20
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Verdict:
    """Mean balanced accuracies of all labels; the interval is over latents."""

    num_labels: int
    true: float
    shuffled: float
    lift: float
    lift_low: float
    lift_high: float


class Judge:
    """Asks the server about `num_windows` firing and as many silent windows of each latent."""

    def __init__(
        self, base_url: str, model: str, api_key: str, tokenizer: str, concurrency: int, num_windows: int
    ) -> None:
        self._tokenizer = PromptTokenizer(tokenizer)
        self._url, self._model, self._num_windows = f"{base_url}/completions", model, num_windows
        self._client = httpx.AsyncClient(headers={"Authorization": f"Bearer {api_key}"}, timeout=TIMEOUT_S)
        self._slots = asyncio.Semaphore(concurrency)

    async def judge(
        self, latents: Sequence[dict[str, Any]], labels: Mapping[str, str | None], seed: int
    ) -> Verdict:
        """Each latent's label, and another's, on its windows; a latent without a label counts for chance."""
        texts = [labels.get(str(latent["feature"])) for latent in latents]
        other = [partners[0] for partners in similar_partners([1.0] * len(latents), 1, seed)]
        async with self._client:
            true_L = await asyncio.gather(*map(self._accuracy, latents, texts))
            shuffled_L = await asyncio.gather(
                *map(self._accuracy, latents, [texts[index] for index in other])
            )
        lift_L = np.subtract(true_L, shuffled_L)
        resampled = np.random.default_rng(seed).choice(lift_L, (NUM_RESAMPLES, len(lift_L))).mean(axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        means = (float(np.mean(true_L)), float(np.mean(shuffled_L)), float(lift_L.mean()))
        return Verdict(sum(text is not None for text in texts), *means, float(low), float(high))

    async def _accuracy(self, latent: dict[str, Any], label: str | None) -> float:
        if label is None:
            return 0.5
        firing, silent = latent["fresh_firing"], latent["fresh_silent"]
        shown = [firing[place * len(firing) // self._num_windows] for place in range(self._num_windows)]
        hits = await asyncio.gather(*(self._says_yes(label, window) for window in shown))
        alarms = await asyncio.gather(
            *(self._says_yes(label, window) for window in silent[: self._num_windows])
        )
        return float((np.mean(hits) + 1 - np.mean(alarms)) / 2)

    async def _says_yes(self, label: str, window: dict[str, Any]) -> float:
        """1 for yes, 0 for no, a half where the answer is neither."""
        text = " ".join("".join(window["tokens"]).split())
        prompt = self._tokenizer.start()
        self._tokenizer.add(prompt, [WORDING.completion.fill(label=label, context=text)])
        body = {
            "model": self._model,
            "prompt": prompt.ids,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": NUM_LOGPROBS,
        }
        async with self._slots:
            answer = await self._client.post(self._url, json=body)
        answer.raise_for_status()
        share = yes_share(read_first_token_logprobs(answer.json()["choices"][0]))
        return 0.5 if share is None else float(share > 0.5)
