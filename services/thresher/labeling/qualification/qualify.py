"""Try a spec's scorers on planted features, and store what came of it."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import thresher
from thresher.contracts import paths
from thresher.contracts.manifests import PlantedScores, QualificationRecord
from thresher.labeling.budget.account import Account
from thresher.labeling.budget.budget import Budget
from thresher.labeling.endpoints.probe import check_model, probe
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.exchanges import Exchanges
from thresher.labeling.ledger.ledger import open_ledger
from thresher.labeling.qualification.planted import plant
from thresher.labeling.qualification.planted_subject import PlantedSubjects
from thresher.labeling.qualification.records import find_qualification, qualification_id
from thresher.labeling.qualification.rules import RULE_KINDS, RULES, Rule
from thresher.labeling.qualification.separation import Tried, separation
from thresher.labeling.scorers.build import ScorerTools, build_scorers, score_types_of, scorer_needs
from thresher.labeling.scorers.reading import Sampling
from thresher.labeling.scorers.scorer import Scorer, ScorerIdentity, identity_of
from thresher.labeling.scorers.sequential import Outcomes, SequentialScoring
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workers import map_bounded
from thresher.runtime.progress import progress
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import create_record

logger = logging.getLogger(__name__)
RUN_ID = "planted"
"""Stands for a label run where answers about planted features are kept: they are of no dictionary, and serve all."""


def qualify(spec: LabelSpec) -> list[QualificationRecord]:
    """Qualify every scorer of the spec that judges labels, or find it qualified. Nothing of a dictionary is read.

    Raises:
        SpecError: a value cannot be used; found before anything is asked of a model.
        EndpointError: the endpoint cannot be reached, refuses, or keeps on failing. Run again to resume.
    """
    return asyncio.run(_qualify(open_store(spec.root), spec))


async def _qualify(store: ObjectStore, spec: LabelSpec) -> list[QualificationRecord]:
    tokenizer = PromptTokenizer(spec.tokenizer)
    prices = spec.prices
    budget = Budget(spec.budget.max_tokens, max_cost=spec.budget.max_cost, prices=prices)
    async with Exchanges(spec.endpoint, budget, Account(prices)) as exchanges:
        subjects = PlantedSubjects(spec.qualification.num_texts, spec.seed)
        tools = ScorerTools(tokenizer, exchanges.of, Sampling(spec.seed), subjects)
        built = build_scorers(spec, tools)
        scorers = [scorer for scorer in built if scorer.uses_label]
        found = {scorer.name: _find(store, scorer) for scorer in scorers}
        if all(found.values()):
            return [record for records in found.values() for record in records]
        roots: dict[str, str | None] = {}
        for client in exchanges.clients:
            card = await check_model(client)
            await probe(client, card, tokenizer, scorer_needs(spec, client.spec))
            roots[client.spec.model] = card.root
        ledgers = exchanges.open_ledgers(lambda endpoint: open_ledger(store, endpoint, roots, RUN_ID))
        tried = [found[scorer.name] or await _try(store, spec, scorer) for scorer in scorers]
    for _, ledger in ledgers:
        ledger.seal()
    return [record for records in tried for record in records]


def _identities(scorer: Scorer) -> list[ScorerIdentity]:
    return [replace(identity_of(scorer), name=name) for name in score_types_of(scorer.name)]


def _find(store: ObjectStore, scorer: Scorer) -> list[QualificationRecord]:
    """Of all its score types; none if one is missing."""
    records = [find_qualification(store, identity) for identity in _identities(scorer)]
    found = [record for record in records if record is not None]
    return found if len(found) == len(records) else []


@dataclass(frozen=True)
class _Planted:
    number: int
    rule: Rule


async def _try(store: ObjectStore, spec: LabelSpec, scorer: Scorer) -> list[QualificationRecord]:
    scoring = SequentialScoring(spec.bootstrap, None, spec.seed)
    planted = [_Planted(number, rule) for number, rule in enumerate(RULES)]
    with progress(f"qualify {scorer.name}", len(planted), "features") as meter:

        async def one(item: _Planted) -> Outcomes:
            outcomes = await _outcomes(spec, scorer, scoring, item)
            meter.advance(1)
            return outcomes

        outcomes = await map_bounded(one, planted, spec.endpoint.concurrency)
    records = [
        _record(spec, identity, [_tried(item, identity.name, scorer.name) for item in outcomes])
        for identity in _identities(scorer)
    ]
    return [create_record(store, paths.qualification(record.qualification_id), record) for record in records]


async def _outcomes(spec: LabelSpec, scorer: Scorer, scoring: SequentialScoring, item: _Planted) -> Outcomes:
    exemplars = plant(item.rule, item.number, spec.qualification.num_texts, spec.seed)
    trials = scorer.trials(item.number, exemplars)
    return await scoring.score(scorer, [item.rule.true, item.rule.near, item.rule.far], trials)


def _tried(outcomes: Outcomes, score_type: str, scorer: str) -> Tried:
    """Without an answer the scorer's own name alone has an outcome, which says so."""
    true, *false = outcomes.get(score_type, outcomes[scorer])
    return Tried(true.estimate.value, tuple(outcome.estimate.value for outcome in false), true.lift.value)


def _record(spec: LabelSpec, identity: ScorerIdentity, tried: Sequence[Tried]) -> QualificationRecord:
    overall = separation(tried, spec.bootstrap, spec.seed)
    kinds = {
        kind: [item for item, rule in zip(tried, RULES, strict=True) if rule.kind == kind]
        for kind in RULE_KINDS
    }
    distances = {
        distance: [Tried(item.true, (item.false[index],), item.lift) for item in tried]
        for index, distance in enumerate(("near", "far"))
    }
    low = overall.auroc.low
    return QualificationRecord(
        qualification_id=qualification_id(identity),
        score_type=identity.name,
        scorer_model=identity.model,
        scorer_revision=identity.revision,
        prompt_sha256=identity.prompt_sha256,
        min_auroc=spec.qualification.min_auroc,
        qualified=low is not None and low > spec.qualification.min_auroc,
        overall=overall,
        by_kind={kind: separation(found, spec.bootstrap, spec.seed) for kind, found in kinds.items()},
        by_distance={
            distance: separation(found, spec.bootstrap, spec.seed) for distance, found in distances.items()
        },
        planted=[
            PlantedScores(
                kind=rule.kind,
                true=rule.true,
                near=rule.near,
                far=rule.far,
                scores=[item.true, *item.false],
            )
            for item, rule in zip(tried, RULES, strict=True)
        ],
        code_version=thresher.__version__,
    )
