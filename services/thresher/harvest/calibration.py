"""A short measured run of a harvest's engine, over a copy of a few sequences: nothing reaches the real store."""

import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayError, RayTaskError

from thresher.contracts import paths
from thresher.contracts.manifests import CorpusManifest, DictionaryManifest, ShardCommit
from thresher.contracts.names import parse_reference
from thresher.harvest.actor import BuildEngine, build_vllm_engine, cause_of
from thresher.harvest.inputs import HarvestInputs
from thresher.harvest.placement import place_actor
from thresher.harvest.plan import ShardPlan, harvested_splits
from thresher.harvest.scheduler import ActorStartError
from thresher.harvest.spec import HarvestSpec
from thresher.runtime.ray_cluster import connect
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record, record_bytes

MEASURED_STEPS = 3
"""Of each shard; at least one is measured, and more until a second has passed."""
MEASURED_S = 1.0
MIN_SEQUENCES = 2
CENTRE_SEQUENCES = 16
"""What an engine may read besides, to measure the centre of int8 rows."""


class Calibration(BaseModel):
    """What a few sequences took, some of them repeatedly."""

    model_config = ConfigDict(frozen=True)

    num_sequences: int
    num_rows: int
    start_s: float
    """Until the engine stood."""
    elapsed_s: float
    """From the first token of the measured sequences to the last byte of their shards, on a local disk."""
    site_bytes: dict[str, int]
    address_bytes: int
    """Of the table of row addresses."""


def calibrate_on_ray(inputs: HarvestInputs, build_engine: BuildEngine = build_vllm_engine) -> Calibration:
    """Run `calibrate` where Ray finds the room that one actor of the harvest needs.

    Raises:
        ThresherError: what the engine says; or that its process ended.
    """
    connect()
    placement = place_actor(inputs.spec)
    remote = ray.remote(max_calls=1, max_retries=0, **placement.options)(_calibrate_from_json)
    splits = harvested_splits(inputs.spec, inputs.corpus)
    available = splits[0].stop - splits[0].start
    try:
        answer: Any = ray.get(
            remote.remote(inputs.spec.model_dump_json(), splits[0].start, available, build_engine)
        )
    except RayTaskError as error:
        raise cause_of(error) from error
    except RayError as error:
        raise ActorStartError(f"The process of the engine ended: {error}") from error
    finally:
        placement.release()
    return Calibration.model_validate_json(answer)


def _calibrate_from_json(spec_json: str, first: int, available: int, build_engine: BuildEngine) -> str:
    return calibrate(
        HarvestSpec.model_validate_json(spec_json), first, available, build_engine
    ).model_dump_json()


def calibrate(spec: HarvestSpec, first: int, available: int, build_engine: BuildEngine) -> Calibration:
    """Start an engine over a temporary copy of its inputs, warm it up, and measure a few steps.

    Args:
        spec: of the harvest.
        first: sequence to begin with.
        available: sequences of its split.
        build_engine: starts the engine.
    """
    with tempfile.TemporaryDirectory(prefix="thresher-dry-run-") as folder:
        local = spec.model_copy(update={"root": Path(folder).as_uri()})
        corpus = copy_inputs(open_store(spec.root), open_store(local.root), spec, first, available)
        a_step = -(-spec.engine.max_batch_tokens // corpus.sequence_length)

        def plan(index: int, count: int) -> ShardPlan:
            return ShardPlan(
                artifact=paths.harvest("dry-run"),
                index=index,
                first_sequence=first,
                num_sequences=min(max(count, MIN_SEQUENCES), available),
                sequence_length=corpus.sequence_length,
            )

        start_s = time.perf_counter()
        engine = build_engine(local, corpus.sequence_length)
        stood_s = time.perf_counter()
        engine.harvest([plan(0, a_step)])
        warm_s = time.perf_counter()
        commits: list[ShardCommit] = []
        while not commits or time.perf_counter() - warm_s < MEASURED_S:
            commits += engine.harvest([plan(len(commits) + 1, MEASURED_STEPS * a_step)])
        return _calibration(commits, stood_s - start_s, time.perf_counter() - warm_s)


def _calibration(commits: list[ShardCommit], start_s: float, elapsed_s: float) -> Calibration:
    return Calibration(
        num_sequences=sum(commit.num_sequences for commit in commits),
        num_rows=sum(commit.num_rows for commit in commits),
        start_s=start_s,
        elapsed_s=elapsed_s,
        site_bytes={site: sum(commit.sites[site].size for commit in commits) for site in commits[0].sites},
        address_bytes=sum(commit.rows.size for commit in commits),
    )


def copy_inputs(
    source: ObjectStore, target: ObjectStore, spec: HarvestSpec, first: int, available: int
) -> CorpusManifest:
    """Copy what an engine reads: the corpus's files around `first`, and the dictionary. Returns the corpus."""
    key = paths.manifest(paths.corpus(spec.corpus))
    corpus = read_record(source, key, CorpusManifest)
    target.put(key, record_bytes(corpus))
    wanted = MEASURED_STEPS * -(-spec.engine.max_batch_tokens // corpus.sequence_length)
    stop = first + max(min(wanted, available), MIN_SEQUENCES, CENTRE_SEQUENCES)
    for file in corpus.files:
        if file.first_sequence < stop and file.first_sequence + file.num_sequences > first:
            target.put(file.key, source.get(file.key))
    if spec.dictionary is not None:
        key = paths.manifest(paths.dictionary(*parse_reference("dictionary", spec.dictionary)))
        dictionary = read_record(source, key, DictionaryManifest)
        target.put(key, record_bytes(dictionary))
        for entry in dictionary.files:
            target.put(entry.key, source.get(entry.key))
    return corpus
