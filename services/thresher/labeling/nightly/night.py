"""A night at work: batch after batch, each in the journal before it starts and after it ends."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, MissingArtifactError, ThresherError
from thresher.contracts.manifests import (
    BatchOutcome,
    FamiliesManifest,
    LabelManifest,
    NightBatch,
    NightlyManifest,
    NightOutcome,
)
from thresher.contracts.names import parse_reference
from thresher.labeling.guard import RunGuard, RunStoppedError
from thresher.labeling.ledger.paid import num_tokens_paid
from thresher.labeling.nightly.batches import Pace, Queue, by_value, group_of
from thresher.labeling.nightly.fence import Fence, FenceLostError
from thresher.labeling.nightly.journal import Journal, Night, Planned, Settled
from thresher.labeling.nightly.needs import Need
from thresher.labeling.nightly.spec import NightlySpec
from thresher.labeling.nightly.survey import Survey
from thresher.labeling.nightly.windows import BUDGET_IS_OUT, TIME_IS_UP, Remaining
from thresher.labeling.run import label, label_run_id, plan
from thresher.labeling.spec import LabelSpec
from thresher.storage import ObjectStore

logger = logging.getLogger(__name__)

SAMPLE_SIZE = 8
"""Features whose prompts an estimate is made from."""
OF_ONE_DICTIONARY = (IntegrityError, MissingArtifactError)
"""Faults that leave the other dictionaries as they are."""


class Committer(Protocol):
    """Where published things are entered besides the store: the catalog. Entering a thing twice changes nothing."""

    def labels(self, manifest: LabelManifest) -> None: ...

    def families(self, manifest: FamiliesManifest) -> None: ...

    def night(self, manifest: NightlyManifest) -> None: ...


class NightWork:
    """Works off the needs of a night that has begun.

    Args:
        store: where everything lies.
        spec: of the night.
        fence: held for as long as this works.
        journal: of the night.
        committer: told of every published run.
        now: the time, with its zone.
    """

    def __init__(
        self,
        store: ObjectStore,
        spec: NightlySpec,
        fence: Fence,
        journal: Journal,
        committer: Committer,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._spec, self._fence, self._journal = store, spec, fence, journal
        self._committer, self._now = committer, now
        self._pace = Pace()
        self.left_because: dict[str, int] = {}
        """Features not done, by the reason."""

    @property
    def night(self) -> Night:
        assert self._journal.night is not None, "a night begins first"
        return self._journal.night

    def work(self, found: Survey) -> tuple[NightOutcome, str | None]:
        """Do what fits; returns how the night ended, and what stopped it if something failed.

        Raises:
            FenceLostError: another holder took over.
        """
        tried = {(need.dictionary, need.feature) for batch in self.night.planned for need in batch.needs}
        needs = [need for need in found.needs if (need.dictionary, need.feature) not in tried]
        queue = Queue(by_value(needs))
        try:
            if self.night.open_batch is not None:
                self._run(self.night.open_batch, queue)
            while not self._is_over() and (batch := self._next(queue)) is not None:
                self._journal.write(batch)
                self._run(batch, queue)
        except FenceLostError:
            raise
        except ThresherError as error:
            queue.set_rest_aside(str(error))
            self._outcome(queue)
            return "fault", str(error)
        if self._is_over():
            queue.set_rest_aside(TIME_IS_UP)
        return self._outcome(queue), None

    def _outcome(self, queue: Queue) -> NightOutcome:
        self.left_because = {reason: len(needs) for reason, needs in queue.set_aside.items() if needs}
        if TIME_IS_UP in self.left_because:
            return "time"
        return "budget" if BUDGET_IS_OUT in self.left_because else "complete"

    def _is_over(self) -> bool:
        return self.night.begun.deadline is not None and self._now() >= self.night.begun.deadline

    def _remaining(self) -> Remaining:
        end, limit = self.night.begun.deadline, self._spec.windows.max_tokens
        return Remaining(
            seconds=None if end is None else (end - self._now()).total_seconds(),
            tokens=None if limit is None else max(limit - self.night.num_tokens_paid, 0),
        )

    def _next(self, queue: Queue) -> Planned | None:
        while True:
            try:
                found = queue.next_batch(
                    self._remaining(), self._pace, self._tokens_a_feature, self._spec.batch_size
                )
            except OF_ONE_DICTIONARY as error:
                queue.set_dictionary_aside(queue.needs[0].dictionary, str(error))
                continue
            if found is None:
                return None
            batch, tokens = found
            return Planned(
                index=len(self.night.planned),
                dictionary=batch[0].dictionary,
                corpus=batch[0].corpus,
                tries=batch[0].tries,
                attempt=max(need.num_runs for need in batch),
                needs=batch,
                max_tokens=self._remaining().tokens,
                estimated_tokens=tokens,
            )

    def _tokens_a_feature(self, needs: Sequence[Need]) -> float:
        dictionary, corpus, tries = group_of(needs[0])
        sample = [need.feature for need in needs[:SAMPLE_SIZE]]
        spec = self._spec.label_spec(dictionary, corpus, tries=tries, features=sample)
        return plan(spec).num_tokens / len(sample)

    def _run(self, planned: Planned, queue: Queue) -> None:
        spec = self._label_spec(planned)
        guard, start_s = RunGuard(self._fence.check), time.monotonic()
        made: LabelManifest | None = None
        outcome: BatchOutcome = "published"
        fault: str | None = None
        try:
            with self._stopped_in_time(guard):
                made = label(spec, guard)
        except RunStoppedError as error:
            self._fence.check()
            outcome, fault = "stopped", str(error)
            queue.add_aside(planned.needs, fault)
        except OF_ONE_DICTIONARY as error:
            outcome, fault = "failed", str(error)
            queue.add_aside(planned.needs, fault)
            queue.set_dictionary_aside(planned.dictionary, fault)
        except FenceLostError:
            raise
        except ThresherError as error:
            queue.add_aside(planned.needs, str(error))
            self._settle(planned, spec, None, "failed", str(error), time.monotonic() - start_s)
            raise
        seconds = time.monotonic() - start_s
        self._settle(planned, spec, made, outcome, fault, seconds)
        if made is not None:
            self._pace.add(len(planned.needs), seconds)
            self._enter(made)

    def _settle(
        self,
        planned: Planned,
        spec: LabelSpec,
        made: LabelManifest | None,
        outcome: BatchOutcome,
        fault: str | None,
        seconds: float,
    ) -> None:
        batch = NightBatch(
            index=planned.index,
            dictionary=planned.dictionary,
            corpus=planned.corpus,
            num_features=len(planned.needs),
            outcome=outcome,
            run_id=None if made is None else made.run_id,
            fault=fault,
            states={} if made is None else made.states,
            estimated_tokens=planned.estimated_tokens,
            num_tokens_paid=self._num_tokens_paid(spec),
            seconds=seconds,
        )
        self._journal.write(Settled(batch=batch))

    def _enter(self, made: LabelManifest) -> None:
        """A catalog that is out of reach does not end the night: its end enters every run again."""
        self._fence.check()
        try:
            self._committer.labels(made)
        except ThresherError as error:
            logger.warning("Run %s is published, but not in the catalog yet: %s", made.run_id, error)

    def _label_spec(self, planned: Planned) -> LabelSpec:
        return self._spec.label_spec(
            planned.dictionary,
            planned.corpus,
            tries=planned.tries,
            attempt=planned.attempt,
            features=[need.feature for need in planned.needs],
            max_tokens=planned.max_tokens,
        )

    def _num_tokens_paid(self, spec: LabelSpec) -> int:
        try:
            run_id = label_run_id(spec)
        except ThresherError:  # whatever kept the run from starting, nothing was paid
            return 0
        name, version = parse_reference("dictionary", spec.dictionary)
        return num_tokens_paid(self._store, paths.label_run(name, version, run_id), run_id)

    @contextmanager
    def _stopped_in_time(self, guard: RunGuard) -> Iterator[None]:
        """Stop the run when the window closes, or when the fence is lost."""
        self._fence.when_lost = guard.stop
        end = self.night.begun.deadline
        if end is None:
            yield
            return
        seconds = max((end - self._now()).total_seconds(), 0)
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), guard.stop, [TIME_IS_UP])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
