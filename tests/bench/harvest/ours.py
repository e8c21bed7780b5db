"""thresher's engine: shards into the S3 server, two calls in flight, as the pool keeps them."""

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
from thresher.harvest.engine import HarvestEngine
from thresher.harvest.plan import ShardPlan
from thresher.harvest.spec import HarvestSpec

SEQUENCES_PER_SHARD = 16
# Of this run alone: a shard that another run committed would be found done.
ARTIFACT = f"activations/bench-{uuid.uuid4().hex}"
PAIRS = 4


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
    with HarvestEngine(_spec(case), LENGTH) as engine, ThreadPoolExecutor(2) as pool:
        engine.harvest(_plans(0, WARM_UP_SEQUENCES))
        plans = _plans(WARM_UP_SEQUENCES, WARM_UP_SEQUENCES + case.sequences)
        with Stopwatch() as watch:
            done = list(pool.map(lambda plan: engine.harvest([plan]), plans))
        commits = [commit for group in done for commit in group]
        sites = {
            site: {
                "bytes_a_row": sum(c.sites[site].size for c in commits) / sum(c.num_rows for c in commits),
                "relative_error": max(c.sites[site].relative_error for c in commits),
                "max_row_error": max(c.sites[site].max_row_error for c in commits),
            }
            for site in case.sites
        }
        paired = _paired(engine, plans) if case.options.get("paired") else []
        answer(case, watch.elapsed_s, engine_wait_s=engine.wait_s, sites=sites, paired=paired)


def _paired(engine: HarvestEngine, plans: list[ShardPlan]) -> list[float]:
    """Seconds of a shard harvested over seconds of the same shard prefilled only, in one engine, in turn."""
    ratios = []
    for plan in plans[:PAIRS]:
        with Stopwatch() as prefilled:
            engine.prefill([plan])
        again = plan.model_copy(update={"artifact": f"{ARTIFACT}-paired"})
        with Stopwatch() as harvested:
            engine.harvest([again])
        ratios.append(harvested.elapsed_s / prefilled.elapsed_s)
    return ratios


if __name__ == "__main__":
    main(Case.from_arguments())
