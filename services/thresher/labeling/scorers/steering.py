"""Steering: do texts show what the label says once the feature is added to the model's stream?

The subject model goes on with neutral prompts, once with the feature's vector added and once with that of another
feature. The judge is shown each text by itself, as in detection, and says whether the label applies: a label of what
the feature does to the output tells its texts from the others.
Source: Gur-Arieh et al., Enhancing automated interpretability with output-centric feature descriptions (2025), section
3, output-based evaluation; Puri et al., FADE (2025), faithfulness.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.first_token import FirstTokenQuestion, load_wording
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Sampling, Trial
from thresher.labeling.scorers.scorer import all_of, ask_all
from thresher.labeling.scorers.spec import SteeringSpec
from thresher.labeling.scorers.statistics import yes_or_no
from thresher.labeling.scorers.yes_no import yes_share
from thresher.labeling.shown_text import one_line
from thresher.labeling.subject.continuing import Continuing

WORDING = load_wording("steering-v1", "steering-chat-v1")
CHARACTERS_A_TOKEN = 8
"""Of a text that is not written yet, more than tokens have in the mean."""


class SteeringScorer:
    """Scores labels by what steering does. A trial is a prompt; its texts are the same for every label."""

    name = "steering"
    uses_label = True

    def __init__(
        self,
        spec: SteeringSpec,
        tokenizer: PromptTokenizer,
        exchange: Exchange,
        sampling: Sampling,
        continuing: Continuing,
    ) -> None:
        self._spec, self._exchange, self._sampling, self._continuing = spec, exchange, sampling, continuing
        self.prompt_sha256 = WORDING.of(spec.form).sha256
        self._question = FirstTokenQuestion(spec, WORDING, tokenizer, exchange.endpoint, self.name)

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        """As many whole batches as there are prompts for."""
        count = self._spec.num_prompts
        num_batches = min(self._sampling.num_batches, len(self._spec.prompts) // count)
        return [
            Trial(feature, number // count, number, (), origin=prompt)
            for number, prompt in enumerate(self._spec.prompts[: count * num_batches])
        ]

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        """Of the judge, those about texts as long as they may be."""
        found: list[ModelRequest] = []
        for trial in trials:
            prompt = str(trial.origin)
            longest = prompt + " x" * (CHARACTERS_A_TOKEN * self._spec.max_tokens // 2)
            found += self._continuing.requests(trial.feature, trial.number, prompt)
            found += [self._request(label, longest)] * 2
        return found

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        return await all_of(self._reading(label, trial) for trial in trials)

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        return yes_or_no(self.name, readings)

    async def _reading(self, label: str, trial: Trial) -> Reading:
        """Two observations: the steered text and the control. One that says nothing is unparsed."""
        prompt = str(trial.origin)
        pair = await self._continuing.pair(trial.feature, trial.number, prompt)
        shown = [one_line(text) for text in pair]
        places = [place for place, text in enumerate(shown) if text != one_line(prompt)]
        answers = await ask_all(self._exchange, [self._request(label, shown[place]) for place in places])
        predicted_N = np.full(2, np.nan)
        for place, answer in zip(places, answers, strict=True):
            share = yes_share(self._question.read(answer))
            predicted_N[place] = np.nan if share is None else share
        return Reading(trial.document, np.array([1.0, 0.0]), predicted_N)

    def _request(self, label: str, text: str) -> ModelRequest:
        return self._question.request(label=one_line(label), context=text)
