"""Detection scoring: shown one text at a time, does the scorer say that the label applies?

The answer is read from the log-probabilities of the first token after the prompt, so that it costs no sampling. One
request may ask about several texts: see joint_question.py.
Source: Paulo et al., Automatically Interpreting Millions of Features in Large Language Models (2024), section 3.3;
balanced accuracy, since the shares of firing and silent texts are set here and not by nature.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from thresher.contracts.exemplars import HARD_NEGATIVE_KINDS, SILENT_KINDS, ExemplarKind
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.first_token import FirstTokenQuestion, load_wording
from thresher.labeling.scorers.joint_question import JointQuestion, joint_sha256
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Sampling, Trial, single_trials, verdict
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.spec import DetectionSpec
from thresher.labeling.scorers.statistics import balanced_accuracy, yes_or_no
from thresher.labeling.scorers.yes_no import yes_share
from thresher.labeling.shown_text import one_line

WORDING = load_wording("detection-v2", "detection-chat-v1")


def prompt_sha256(spec: DetectionSpec) -> str:
    """Of the words asked in."""
    return WORDING.of(spec.form).sha256 if spec.contexts_per_prompt == 1 else joint_sha256(spec, WORDING)


class DetectionScorer:
    """Scores labels by detection: against plain negatives, and against hard ones beside it."""

    name = "detection"
    uses_label = True

    def __init__(
        self, spec: DetectionSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        self._spec, self._exchange, self._sampling = spec, exchange, sampling
        self.prompt_sha256 = prompt_sha256(spec)
        self._question = FirstTokenQuestion(spec, WORDING, tokenizer, exchange.endpoint, self.name)
        self._joint = JointQuestion(spec, WORDING, tokenizer, exchange.endpoint, self.name)

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
        return [request for request, _ in self._asked(label, trials)]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        asked = self._asked(label, trials)
        answers = await ask_all(self._exchange, [request for request, _ in asked])
        said = {
            trial.number: share
            for (request, about), answer in zip(asked, answers, strict=True)
            for trial, share in zip(about, self._yes_shares(request, answer, len(about)), strict=True)
        }
        return [
            verdict(trial, trial.contexts[0].kind not in SILENT_KINDS, said[trial.number]) for trial in trials
        ]

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        plain = [item for item in readings if item.kind not in HARD_NEGATIVE_KINDS]
        measures = yes_or_no(self.name, plain)
        if len(plain) < len(readings):
            hard = [item for item in readings if item.kind != "negative"]
            measures[f"{self.name}_hard"] = balanced_accuracy(hard)
        return measures

    def _asked(self, label: str, trials: Sequence[Trial]) -> list[tuple[ModelRequest, list[Trial]]]:
        """Requests, each with the trials it asks about; within a prompt in random order, which else would tell."""
        size = self._spec.contexts_per_prompt
        if size == 1:
            return [
                (
                    self._question.request(label=one_line(label), context=one_line(trial.contexts[0].text)),
                    [trial],
                )
                for trial in trials
            ]
        mixed = [
            trials[index] for index in np.random.default_rng(self._sampling.seed).permutation(len(trials))
        ]
        groups = [mixed[start : start + size] for start in range(0, len(mixed), size)]
        shown = [[one_line(trial.contexts[0].text) for trial in group] for group in groups]
        return [
            (self._joint.request(one_line(label), texts), group)
            for texts, group in zip(shown, groups, strict=True)
        ]

    def _yes_shares(self, request: ModelRequest, answer: Answer, count: int) -> list[float | None]:
        if self._spec.contexts_per_prompt == 1:
            return [yes_share(self._question.read(answer))]
        return [yes_share(said) for said in self._joint.read(request, answer, count)]
