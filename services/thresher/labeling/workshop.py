"""What features are explained and scored with: built alike for a run in this process and in each of its workers."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from thresher.contracts.manifests import Capabilities
from thresher.labeling.budget.account import Account, charged_to
from thresher.labeling.budget.budget import Budget
from thresher.labeling.budget.plan import Plan, plan_run
from thresher.labeling.endpoints.probe import check_context, check_model, probe
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exchanges import Exchanges
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.explainers.build import ExplainerTools, build_explainer, explainer_needs
from thresher.labeling.explainers.choice import CandidateChooser
from thresher.labeling.explainers.spec import gives_several
from thresher.labeling.labels import Label, LabelMaker
from thresher.labeling.ledger.ledger import Ledger, open_ledger
from thresher.labeling.opening import OpenRun
from thresher.labeling.scorers.build import ScorerTools, build_scorers, scorer_needs
from thresher.labeling.scorers.calibration import (
    Calibrations,
    FeatureReadings,
    calibration_readings,
    set_calibrations,
)
from thresher.labeling.scorers.generation import GenerationScorer
from thresher.labeling.scorers.reading import Sampling
from thresher.labeling.scorers.sequential import SequentialScoring
from thresher.labeling.scores import Contest, Score, ScoreMaker
from thresher.labeling.selection import SelectedFeature
from thresher.labeling.subjects import RunSubjects
from thresher.labeling.workers import ITEMS_PER_SLOT, map_bounded
from thresher.runtime.progress import Meter


class Shop(Protocol):
    """Who explains and scores: this process, or workers."""

    async def explain(self, selected: Sequence[SelectedFeature], meter: Meter) -> list[Label]: ...

    async def calibration_readings(
        self, own: Sequence[tuple[int, str]], meter: Meter
    ) -> list[FeatureReadings]: ...

    async def score(
        self, listed: Sequence[Contest], calibrations: Calibrations, meter: Meter
    ) -> list[Score]: ...


class Workshop:
    """Explains and scores features within one budget, once its ledgers are open."""

    def __init__(self, run: OpenRun, budget: Budget, account: Account) -> None:
        spec = run.spec
        self._run, self._spec = run, spec
        self._exchanges = Exchanges(spec.endpoint, budget, account)
        self._sequential = SequentialScoring(spec.bootstrap, spec.stopping, spec.seed)
        sampling = Sampling(spec.seed, self._sequential.num_batches)
        self._subjects = RunSubjects(run, self._exchanges)
        tools = ScorerTools(run.tokenizer, self._exchanges.of, sampling, self._subjects)
        self._scorers = build_scorers(spec, tools)
        self._explainer = build_explainer(spec.explainer, self._explainer_tools())
        self._book: ExemplarBook | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchanges.__aexit__(kind, error, trace)

    def open_book(self, features: Sequence[int]) -> None:
        """Read the exemplars of the features that are to be worked on next."""
        self._book = self._run.book(features)

    def plan(self, selected: Sequence[SelectedFeature]) -> tuple[Plan, list[ModelRequest]]:
        """What labels and scores of the features will take at the most, and the requests that say so."""
        return plan_run(
            self._spec, self._explainer, self._chooser(), self._scorers, self._open_book, selected
        )

    async def probe(self, sample: Sequence[ModelRequest]) -> dict[str, Capabilities]:
        """What each model's endpoint can do. Raises: EndpointError, SpecError: not what will be asked of it."""
        found: dict[str, Capabilities] = {}
        for client in self._exchanges.clients:
            needs = explainer_needs(self._spec.explainer, client.spec, self._spec.endpoint)
            needs += scorer_needs(self._spec, client.spec)
            card = await check_model(client)
            chats = client.spec == self._spec.explainer_endpoint
            made = await probe(client, card, self._run.tokenizer, needs, chats=chats)
            mine = [request for request in sample if request.model == client.spec.model]
            check_context(client.spec.servers[0].base_url, made, mine)
            found[client.spec.model] = made
        return found

    def open_ledgers(self, roots: Mapping[str, str | None]) -> list[tuple[str, Ledger]]:
        """From now on the models can be asked. `roots`: what was loaded, by the name of the model."""
        run = self._run
        return self._exchanges.open_ledgers(lambda spec: open_ledger(run.store, spec, roots, run.run_id))

    async def explain(self, selected: Sequence[SelectedFeature], meter: Meter) -> list[Label]:
        """Labels in the order of the features, whose book is open. Raises: as LabelMaker.make."""
        maker = LabelMaker(self._spec, self._open_book, self._explainer, self._chooser())
        return await maker.make(selected, meter)

    async def calibration_readings(
        self, own: Sequence[tuple[int, str]], meter: Meter
    ) -> list[FeatureReadings]:
        """What simulators are calibrated with, of features and their labels. Raises: as ScoreMaker.make."""
        found = await calibration_readings(
            self._scorers, own, self._open_book, self._spec.endpoint.concurrency
        )
        meter.advance(len(own))
        return found

    async def write_ahead(self, own: Sequence[tuple[int, str]]) -> None:
        """Texts of labels that will be tried by others too. Raises: EndpointError."""
        writers = [scorer for scorer in self._scorers if isinstance(scorer, GenerationScorer)]

        async def one(label: tuple[int, str]) -> None:
            with charged_to(label[0]):
                for writer in writers:
                    await writer.write_ahead(label[1])

        await map_bounded(one, own, ITEMS_PER_SLOT * self._spec.endpoint.concurrency)

    async def score(self, listed: Sequence[Contest], calibrations: Calibrations, meter: Meter) -> list[Score]:
        """Scores in the order of the contests, whose features' book is open. Raises: as ScoreMaker.make."""
        set_calibrations(self._scorers, calibrations)
        maker = ScoreMaker(self._spec, self._open_book, self._scorers, self._sequential)
        return await maker.make(listed, meter)

    @property
    def _open_book(self) -> ExemplarBook:
        assert self._book is not None, "a book is opened first"
        return self._book

    def _chooser(self) -> CandidateChooser:
        named = [scorer for scorer in self._scorers if scorer.name == self._spec.choice.by]
        return CandidateChooser(named[0] if gives_several(self._spec.explainer) else None)

    def _explainer_tools(self) -> ExplainerTools:
        run = self._run
        return ExplainerTools(
            tokenizer=run.tokenizer,
            seed=run.spec.seed,
            exchange_of=self._exchanges.of,
            subject_of=self._subjects.patching,
            dictionary_sha256=run.features.dictionary.weights_sha256,
        )
