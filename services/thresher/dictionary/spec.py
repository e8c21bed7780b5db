"""What a fit makes and how it runs."""

import math
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import SplitName
from thresher.contracts.names import check_name, parse_reference
from thresher.dictionary.architectures.spec import TrainedSpec
from thresher.dictionary.baselines.spec import BaselineSpec, SemiNmfSpec
from thresher.dictionary.target.rows_spec import GlobalShuffle, MixedHarvestSpec, ShuffleSpec
from thresher.dictionary.target.spec import TargetSpec
from thresher.dictionary.tracking.spec import TrackingSpec

REFERENCE_NUM_LATENTS = 1 << 14
REFERENCE_LEARNING_RATE = (
    2e-4  # at that number of latents, falling with its square root (Gao et al. 2024, section 3)
)

MAX_SEMI_NMF_CODES = 1 << 28  # 1 GiB of float32

OPERATIONAL: JsonDict = {"operational": True}


class TrainingSpec(Spec):
    """How the dictionary is optimised."""

    num_steps: int = Field(gt=0)
    """Optimiser steps, or batches that a baseline is made of; they run on over epochs, each with its own order."""
    batch_rows: int = Field(default=4096, gt=0)
    """Rows of a global batch, over all workers."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate of Adam; null is 2e-4 / sqrt(num_latents / 2**14)."""
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the rate rises from 0."""
    decay_fraction: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps, at the end, over which the rate falls to 0."""
    adam_betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """Decay of the two moments."""
    adam_epsilon: float = Field(default=6.25e-10, gt=0)
    """Term of Adam's denominator (Gao et al. 2024, A.1)."""
    max_gradient_norm: float | None = Field(default=None, gt=0)
    """Gradients are scaled down together so that their joint norm is at most this; null leaves them as they are."""
    dead_after_rows: int = Field(default=10_000_000, gt=0)
    """A latent counts as dead when it was not active on this many rows in a row."""
    initial_rows: int = Field(default=16_384, gt=1)
    """Rows that the input scale, the loss's variance and the decoder bias are initialised from."""
    calibration_rows: int = Field(default=65_536, gt=0)
    """Training rows, at most, that the threshold of inference is calibrated on."""
    fit_split: SplitName = "fit"
    """Rows to train on."""
    holdout_split: SplitName = "report"
    """Rows to evaluate on."""
    min_position: int | None = Field(default=None, ge=0)
    """First position of a sequence that counts. Null takes the rows of a filtered or imported harvest as they are,
    and of whole sequences all but the first, since the activations of BOS are an attention sink."""
    shuffle: ShuffleSpec = GlobalShuffle()
    """Order of the rows: a function of this and the seed, whatever the number of workers or shards."""
    seed: int = Field(default=0, ge=0)
    """Of the weights and of the order of rows."""

    @field_validator("decay_fraction")
    @classmethod
    def _schedule_fits(cls, decay_fraction: float, info: ValidationInfo) -> float:
        warmup_fraction = info.data.get("warmup_fraction", 0.0)
        if warmup_fraction + decay_fraction > 1:
            raise SpecError(
                "decay_fraction",
                decay_fraction,
                allowed=f"0 to {1 - warmup_fraction}",
                mend="Warmup and decay together must not exceed 1: lower one.",
            )
        return decay_fraction


class FitSpec(Spec):
    """Fit one dictionary to sites of a harvest."""

    root: str = Field(json_schema_extra=OPERATIONAL)
    """Store of the harvest and of the dictionary: file:///… or s3://bucket/prefix."""
    harvest: str
    """Id of a harvest of dense activations."""
    mixture: list[MixedHarvestSpec] = Field(default_factory=list)
    """Further harvests whose rows are mixed in, each with its weight relative to 1 of `harvest`."""
    target: TargetSpec
    """Which rows the dictionary reads and reconstructs."""
    name: str
    """Name of the dictionary."""
    version: str | None = Field(default=None, json_schema_extra=OPERATIONAL)
    """Version of that name; null is the one made from this spec already, or else the next free number."""
    architecture: TrainedSpec | BaselineSpec = Field(discriminator="kind")
    """What kind of dictionary."""
    initial: str | None = None
    """name@version of a dictionary whose weights the fit begins with, or null to begin anew."""
    training: TrainingSpec
    """How it is optimised."""
    tracking: TrackingSpec = Field(default=TrackingSpec(), json_schema_extra=OPERATIONAL)
    """What is recorded while it trains."""
    checkpoint_every_steps: int = Field(default=500, gt=0, json_schema_extra=OPERATIONAL)
    """Steps between checkpoints: what an interruption costs at most."""
    checkpoint_every_s: float = Field(default=600, gt=0, json_schema_extra=OPERATIONAL)
    """Seconds between checkpoints, where that many steps take longer."""
    num_workers: int = Field(default=1, gt=0, json_schema_extra=OPERATIONAL)
    """Processes that train, data parallel; the result is the same up to rounding."""
    min_workers: int | None = Field(default=None, gt=0, json_schema_extra=OPERATIONAL)
    """Fewest to go on with when the cluster has room for no more; null waits for num_workers."""
    cpus_per_worker: int = Field(default=2, gt=0, json_schema_extra=OPERATIONAL)
    """CPUs, and threads, of each."""
    use_gpu: bool = Field(default=False, json_schema_extra=OPERATIONAL)
    """One GPU for each."""
    max_failures: int = Field(default=3, ge=0, json_schema_extra=OPERATIONAL)
    """Restarts from the last checkpoint after a lost worker."""
    cache_dir: str = Field(default="/tmp/thresher/shards", json_schema_extra=OPERATIONAL)
    """Local folder on every node for shards of a remote store."""
    cache_gib: float = Field(default=100, gt=0, json_schema_extra=OPERATIONAL)
    """Size that the folder is kept under; what was not used for longest is removed."""
    memory_gib: float = Field(default=8, gt=0, json_schema_extra=OPERATIONAL)
    """Memory of each worker for rows of a remote store that are too many for the cache."""

    @field_validator("min_workers")
    @classmethod
    def _fewest_are_no_more(cls, min_workers: int | None, info: ValidationInfo) -> int | None:
        num_workers = info.data.get("num_workers", 1)
        if min_workers is not None and min_workers > num_workers:
            raise SpecError(
                "min_workers", min_workers, allowed=f"1 to num_workers = {num_workers}", mend="Lower it."
            )
        return min_workers

    @field_validator("initial")
    @classmethod
    def _initial_is_a_reference(cls, initial: str | None) -> str | None:
        if initial is not None:
            parse_reference("initial", initial)
        return initial

    @field_validator("name", "version")
    @classmethod
    def _name_is_well_formed(cls, text: str | None, info: ValidationInfo) -> str | None:
        return None if text is None else check_name(str(info.field_name), text)

    @model_validator(mode="after")
    def _starts_where_it_can(self) -> Self:
        if self.initial is None:
            return self
        if isinstance(self.architecture, BaselineSpec):
            mend = f"A {self.architecture.kind} baseline is made from rows alone: leave it out."
            raise SpecError("initial", self.initial, mend=mend)
        if self.architecture.whiten_input:
            raise SpecError(
                "architecture.whiten_input",
                True,
                allowed=[False],
                mend="The dictionary reads rows as they are.",
            )
        return self

    @model_validator(mode="after")
    def _codes_fit_memory(self) -> Self:
        if isinstance(self.architecture, SemiNmfSpec):
            num_rows = self.training.num_steps * self.training.batch_rows
            most = MAX_SEMI_NMF_CODES // self.architecture.num_latents
            if num_rows > most:
                raise SpecError(
                    "training.num_steps",
                    self.training.num_steps,
                    allowed=f"up to {most // self.training.batch_rows}",
                    mend="Semi-NMF holds the codes of all rows in memory: lower num_steps, batch_rows or num_latents.",
                )
        return self

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""
        if self.training.learning_rate is not None:
            return self.training.learning_rate
        return REFERENCE_LEARNING_RATE / math.sqrt(self.architecture.num_latents / REFERENCE_NUM_LATENTS)

    @property
    def trained_architecture(self) -> TrainedSpec:
        """The architecture, of what is trained by gradient."""
        assert not isinstance(self.architecture, BaselineSpec)
        return self.architecture
