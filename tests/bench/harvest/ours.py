"""thresher's engine: shards into the S3 server, as many calls in flight as the pool keeps them."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from harvest.case import (
    LENGTH,
    MAX_BATCH_SEQUENCES,
    MAX_BATCH_TOKENS,
    WARM_UP_SEQUENCES,
    Case,
    Stopwatch,
    answer,
)
from thresher.contracts.manifests import ShardCommit
from thresher.harvest.engine import HarvestEngine
from thresher.harvest.plan import ShardPlan
from thresher.harvest.scheduler import CALLS_IN_FLIGHT
from thresher.harvest.spec import HarvestSpec

SEQUENCES_PER_SHARD = 16
# Of this run alone: a shard that another run committed would be found done.
ARTIFACT = f"activations/bench-{uuid.uuid4().hex}"
PAIRED_ROUNDS = 4


def _spec(case: Case) -> HarvestSpec:
    engine = {"max_batch_tokens": MAX_BATCH_TOKENS, "max_batch_sequences": MAX_BATCH_SEQUENCES}
    keys = ("encoding", "centre", "selection")
    return HarvestSpec.parse(
        {
            "root": case.root,
            "corpus": case.corpus,
            "model": case.model,
            "sites": case.sites,
            "splits": ["fit"],
            "dtype": case.dtype,
            "engine": engine | case.options.get("engine", {}),
            **{key: case.options[key] for key in keys if key in case.options},
        }
    )


def _plans(start: int, stop: int) -> list[ShardPlan]:
    return [
        ShardPlan(
            artifact=ARTIFACT,
            index=first // SEQUENCES_PER_SHARD,
            first_sequence=first,
            num_sequences=min(SEQUENCES_PER_SHARD, stop - first),
            sequence_length=LENGTH,
        )
        for first in range(start, stop, SEQUENCES_PER_SHARD)
    ]


def main(case: Case) -> None:
    with HarvestEngine(_spec(case), LENGTH) as engine, ThreadPoolExecutor(CALLS_IN_FLIGHT) as pool:
        engine.harvest(_plans(0, WARM_UP_SEQUENCES))
        plans = _plans(WARM_UP_SEQUENCES, WARM_UP_SEQUENCES + case.sequences)
        with Stopwatch() as watch:
            done = list(pool.map(lambda plan: engine.harvest([plan]), plans))
        paired = _paired(engine, pool, plans) if case.options.get("paired") else []
        answer(
            case,
            watch,
            engine_wait_s=engine.wait_s,
            sites=_sites(case, [commit for group in done for commit in group]),
            paired=paired,
        )


def _sites(case: Case, commits: list[ShardCommit]) -> dict[str, dict[str, float]]:
    return {
        site: {
            "bytes_a_row": sum(c.sites[site].size for c in commits) / sum(c.num_rows for c in commits),
            "relative_error": max(c.sites[site].relative_error for c in commits),
            "max_row_error": max(c.sites[site].max_row_error for c in commits),
        }
        for site in case.sites
    }


def _paired(
    engine: HarvestEngine, pool: ThreadPoolExecutor, plans: list[ShardPlan]
) -> list[dict[str, float]]:
    """The same shards prefilled only and harvested, in one engine, in turn."""
    rounds = []
    for number in range(PAIRED_ROUNDS):
        fresh = [plan.model_copy(update={"artifact": f"{ARTIFACT}-{number}"}) for plan in plans]
        with Stopwatch() as prefilled:
            list(pool.map(lambda plan: engine.prefill([plan]), plans))
        with Stopwatch() as harvested:
            list(pool.map(lambda plan: engine.harvest([plan]), fresh))
        rounds.append(
            {
                "prefill_s": prefilled.elapsed_s,
                "harvest_s": harvested.elapsed_s,
                "prefill_cpu_s": prefilled.cpu_s,
                "harvest_cpu_s": harvested.cpu_s,
                "server_cpu_s": harvested.server_cpu_s,
            }
        )
    return rounds


if __name__ == "__main__":
    main(Case.from_arguments())
