"""The measured figures of one run of a harvest: beside the artifact, and no part of it."""

import logging
import secrets
import time
from dataclasses import asdict
from datetime import UTC, datetime

from thresher.contracts import paths
from thresher.contracts.errors import StoreError
from thresher.contracts.manifests import Record
from thresher.harvest.actor import CallResult
from thresher.harvest.actor_pool import ActorPool
from thresher.storage import ObjectStore
from thresher.storage.artifacts import record_bytes

logger = logging.getLogger(__name__)


class ActorRecord(Record):
    """What one actor did."""

    start_s: float | None
    """From the request to Ray until the engine stood; null if it never did."""
    num_shards: int
    num_tokens: int
    engine_wait_s: float
    """How long its engine stood still because the store was slower."""


class RunRecord(Record):
    """One run: what it made itself, not what it found."""

    outcome: str
    """complete, or the name of the error that ended it."""
    num_shards: int
    num_tokens: int
    num_rows: int
    bytes: int
    """Of the data objects."""
    num_found_shards: int
    """Committed before or meanwhile, by other runs."""
    elapsed_s: float
    tokens_per_s: float
    engine_wait_s: float
    """Sum over actors."""
    num_actors: int
    """Started in the course of the run; more than `actors.count` where some were replaced."""
    failures: int
    """Calls that failed and actors that were lost."""
    poison_shards: list[int]
    coordinator_cpu_s: float
    coordinator_cpu_s_per_shard: float | None
    actors: list[ActorRecord]


class RunTally:
    """Counts what a run makes, from its beginning."""

    def __init__(self, num_found_shards: int) -> None:
        self._start_s, self._start_cpu_s = time.monotonic(), time.process_time()
        self._num_found_shards = num_found_shards
        self._num_shards = self._num_tokens = self._num_rows = self._bytes = 0

    def add(self, result: CallResult, sequence_length: int) -> None:
        """What one call brought."""
        self._num_found_shards += len(result.found)
        for commit in result.commits:
            if commit.index not in result.found:
                self._num_shards += 1
                self._num_tokens += commit.num_sequences * sequence_length
                self._num_rows += commit.num_rows
                self._bytes += sum(entry.size for entry in [*commit.sites.values(), commit.rows])

    def record(self, pool: ActorPool, outcome: str) -> RunRecord:
        """The figures so far."""
        elapsed_s = time.monotonic() - self._start_s
        cpu_s = time.process_time() - self._start_cpu_s
        return RunRecord(
            outcome=outcome,
            num_shards=self._num_shards,
            num_tokens=self._num_tokens,
            num_rows=self._num_rows,
            bytes=self._bytes,
            num_found_shards=self._num_found_shards,
            elapsed_s=elapsed_s,
            tokens_per_s=self._num_tokens / elapsed_s,
            engine_wait_s=sum(figures.engine_wait_s for figures in pool.figures),
            num_actors=len(pool.figures),
            failures=pool.num_failures,
            poison_shards=[item.plan.index for item in pool.poison],
            coordinator_cpu_s=cpu_s,
            coordinator_cpu_s_per_shard=cpu_s / self._num_shards if self._num_shards else None,
            actors=[ActorRecord.model_validate(asdict(figures)) for figures in pool.figures],
        )


def write_run_record(store: ObjectStore, artifact: str, record: RunRecord) -> None:
    """Keep the figures. That the store refuses them must not hide how the run itself ended."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    try:
        store.put(f"{paths.harvest_runs(artifact)}/{now}-{secrets.token_hex(4)}.json", record_bytes(record))
    except StoreError as error:
        logger.warning("The figures of this run were not kept: %s", error)
