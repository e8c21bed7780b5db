"""Detection scoring: shown one text at a time, does the scorer say that the label applies?

The answer is read from the log-probabilities of the first token after the prompt, so that it costs no sampling.
Source: Paulo et al., Automatically Interpreting Millions of Features in Large Language Models (2024), section 3.3;
balanced accuracy, since the shares of firing and silent texts are set here and not by nature.
"""

from collections.abc import Mapping, Sequence

from thresher.contracts.exemplars import HARD_NEGATIVE_KINDS, SILENT_KINDS, ExemplarKind
from thresher.labeling.endpoints.completions import first_token_request, read_first_token_logprobs
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.book import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.observations import Observations, balanced_accuracy
from thresher.labeling.scorers.reading import Reading, Sampling, Trial, single_trials, verdict
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.spec import DetectionSpec
from thresher.labeling.scorers.yes_no import yes_share
from thresher.labeling.templates import load_template

TEMPLATE = load_template("detection-v1")


class DetectionScorer:
    """Scores labels by detection: against plain negatives, and against hard ones beside it."""

    name = "detection"
    uses_label = True
    prompt_sha256 = TEMPLATE.sha256

    def __init__(
        self, spec: DetectionSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        self._spec, self._tokenizer, self._exchange, self._sampling = spec, tokenizer, exchange, sampling

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        """Firing texts from both ends of the scale, silent ones, and silent ones where one would expect it to fire."""
        num_top = (self._spec.num_active + 1) // 2
        present = {item.kind for item in exemplars}
        hard = [kind for kind in HARD_NEGATIVE_KINDS if kind in present]
        num_hard = self._spec.num_hard if hard else 0
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", num_top),
            ("quantile", self._spec.num_active - num_top),
            *(
                (kind, num_hard // len(hard) + (index < num_hard % len(hard)))
                for index, kind in enumerate(hard)
            ),
            ("negative", self._spec.num_inactive),
        ]
        return single_trials(feature, exemplars, counts, self._sampling, self._spec.tokens_per_context)

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        return [self._request(label, trial.contexts[0]) for trial in trials]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        answers = await ask_all(self._exchange, self.requests(label, trials))
        return [
            verdict(
                trial,
                trial.contexts[0].kind not in SILENT_KINDS,
                yes_share(read_first_token_logprobs(answer.choice)),
            )
            for trial, answer in zip(trials, answers, strict=True)
        ]

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        plain = [item for item in readings if item.kind not in HARD_NEGATIVE_KINDS]
        measures = {self.name: balanced_accuracy(plain)}
        if len(plain) < len(readings):
            hard = [item for item in readings if item.kind != "negative"]
            measures[f"{self.name}_hard"] = balanced_accuracy(hard)
        return measures

    def _request(self, label: str, context: Exemplar) -> ModelRequest:
        prompt = self._tokenizer.start()
        text = " ".join(context.text.split())
        self._tokenizer.add(prompt, [TEMPLATE.fill(label=label, context=text)])
        return first_token_request(self._exchange.endpoint, prompt, self._spec.num_logprobs, self.name)
