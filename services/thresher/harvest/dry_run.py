"""What a harvest would take: rows, bytes, time and cost, from its inputs and a calibration on one engine."""

from collections.abc import Callable
from dataclasses import dataclass

from thresher.contracts import paths
from thresher.contracts.errors import StoreError
from thresher.contracts.manifests import HarvestManifest
from thresher.harvest.calibration import Calibration, calibrate_on_ray
from thresher.harvest.committed import find_committed
from thresher.harvest.inputs import HarvestInputs, resolve_inputs
from thresher.harvest.plan import ShardPlan, plan_shards
from thresher.harvest.spec import HarvestSpec
from thresher.storage.artifacts import find_record

Calibrate = Callable[[HarvestInputs], Calibration]
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class Estimate:
    """Of what is left to make; `num_shards` counts what is there too."""

    harvest_id: str
    num_shards: int
    num_committed: int
    num_tokens: int
    num_rows: float
    site_bytes: dict[str, float]
    address_bytes: float
    calibration: Calibration
    tokens_per_s: float
    """Of one actor."""
    expected_s: float
    """With all actors, their start included."""
    actor_hours: float

    @property
    def num_bytes(self) -> float:
        return sum(self.site_bytes.values()) + self.address_bytes


def dry_run(spec: HarvestSpec, calibrate: Calibrate = calibrate_on_ray) -> list[str]:
    """Check all inputs, measure one engine, and say what the harvest would take. Leaves nothing in the store.

    Raises:
        SpecError, MissingArtifactError, StoreError: as the harvest itself would, before an engine starts.
    """
    inputs = resolve_inputs(spec)
    artifact = paths.harvest(inputs.harvest_id)
    found = find_record(inputs.store, paths.manifest(artifact), HarvestManifest)
    if found is not None:
        return _complete_lines(found)
    if not inputs.store.has_conditional_writes():
        raise StoreError(
            f"{inputs.store.url} does not keep conditional writes, which exactly-once commits need."
        )
    plans = plan_shards(spec, inputs.corpus, artifact)
    committed = find_committed(inputs.store, plans, mend=False)
    left = [plan for plan in plans if plan.index not in committed]
    if not left:
        return [
            f"harvest {inputs.harvest_id}",
            "All shards are committed: running the spec writes the manifest.",
        ]
    return estimate_lines(estimate(inputs, plans, left, calibrate(inputs)), spec)


def estimate(
    inputs: HarvestInputs, plans: list[ShardPlan], left: list[ShardPlan], calibration: Calibration
) -> Estimate:
    """Scale the calibration up to what is left.

    Args:
        inputs: of the harvest.
        plans: all its shards.
        left: those that are not committed.
        calibration: of one engine.
    """
    spec = inputs.spec
    num_tokens = sum(plan.num_tokens for plan in left)
    measured_tokens = calibration.num_sequences * inputs.corpus.sequence_length
    scale = num_tokens / measured_tokens
    tokens_per_s = measured_tokens / calibration.elapsed_s
    num_actors = min(spec.actors.count, -(-len(left) // spec.engine.tensor_parallel))
    expected_s = calibration.start_s + num_tokens / tokens_per_s / num_actors
    return Estimate(
        harvest_id=inputs.harvest_id,
        num_shards=len(plans),
        num_committed=len(plans) - len(left),
        num_tokens=num_tokens,
        num_rows=calibration.num_rows * scale,
        site_bytes={site: size * scale for site, size in calibration.site_bytes.items()},
        address_bytes=calibration.address_bytes * scale,
        calibration=calibration,
        tokens_per_s=tokens_per_s,
        expected_s=expected_s,
        actor_hours=expected_s * num_actors / 3600,
    )


def estimate_lines(found: Estimate, spec: HarvestSpec) -> list[str]:
    """The table that a person reads, and what it assumes."""
    exact = "" if spec.selection.keeps_all else " (estimated)"
    table = [
        ("harvest", found.harvest_id),
        ("shards to make", f"{found.num_shards - found.num_committed:,} of {found.num_shards:,}"),
        ("tokens", f"{found.num_tokens:,}"),
        ("rows", f"{found.num_rows:,.0f}{exact}"),
        *((f"bytes {site}", _bytes(size)) for site, size in found.site_bytes.items()),
        ("bytes row addresses", _bytes(found.address_bytes)),
        ("bytes in all", _bytes(found.num_bytes)),
        ("tokens/s an actor", f"{found.tokens_per_s:,.0f}"),
        ("actors", f"{spec.actors.count}"),
        ("expected time", _duration(found.expected_s)),
        ("actor-hours", f"{found.actor_hours:,.2f}"),
    ]
    if spec.actors.price_per_hour:
        table.append(("cost of actors", f"{found.actor_hours * spec.actors.price_per_hour:,.2f}"))
    return [*(f"{name:<28} {value}" for name, value in table), *_assumptions(found)]


def _assumptions(found: Estimate) -> list[str]:
    measured = found.calibration
    upload = found.num_bytes / found.num_tokens * found.tokens_per_s / MIB
    return [
        f"Measured on {measured.num_sequences} sequences in {measured.elapsed_s:.1f} s, after a warm-up, one shard "
        f"at a time, written to a local disk; the engine stood after {measured.start_s:.0f} s.",
        "Assumes that all actors are placed at once and none is lost, that each byte goes to the object store once, "
        f"and that the store takes {upload:,.1f} MiB/s from each actor. Requests, storage and traffic are not priced.",
    ]


def _complete_lines(manifest: HarvestManifest) -> list[str]:
    entries = [entry for shard in manifest.shards for entry in [*shard.sites.values(), shard.rows]]
    return [
        f"{'harvest':<28} {manifest.harvest_id}",
        f"{'rows':<28} {manifest.num_rows:,}",
        f"{'shards':<28} {len(manifest.shards):,}",
        f"{'bytes in all':<28} {_bytes(sum(entry.size for entry in entries))}",
        "It is complete: running the spec starts no engine.",
    ]


def _bytes(count: float) -> str:
    return f"{count / GIB:,.2f} GiB" if count >= GIB else f"{count / MIB:,.2f} MiB"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02} min" if hours else f"{rest // 60} min {rest % 60:02} s"
