"""What a fit makes and how it runs."""

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import SplitName
from thresher.contracts.names import check_name
from thresher.contracts.sites import check_site_name
from thresher.dictionary.tracking.spec import TrackingSpec

REFERENCE_NUM_LATENTS = 1 << 14
REFERENCE_LEARNING_RATE = (
    2e-4  # at that number of latents, falling with its square root (Gao et al. 2024, section 3)
)

OPERATIONAL: JsonDict = {"operational": True}


class BatchTopKSpec(Spec):
    """BatchTopK dictionary (Bussmann et al. 2024): k active latents a row on average over a batch."""

    kind: Literal["batch_topk"] = "batch_topk"
    """Architecture."""
    num_latents: int = Field(gt=1)
    """Width of the dictionary."""
    k: int = Field(gt=0)
    """Mean number of active latents a row."""
    k_aux: int | None = Field(default=None, gt=0)
    """Dead latents a row that model the residual; null is half of d_in (Gao et al. 2024, A.2)."""
    aux_coefficient: float = Field(default=1 / 32, ge=0)
    """Weight of the loss of those dead latents; 0 leaves it out."""

    @field_validator("k")
    @classmethod
    def _fewer_active_than_latents(cls, k: int, info: ValidationInfo) -> int:
        num_latents = info.data.get("num_latents", math.inf)
        if k >= num_latents:
            raise SpecError("k", k, allowed=f"1 to {num_latents - 1}", mend="Lower k or raise num_latents.")
        return k


class TrainingSpec(Spec):
    """How the dictionary is optimised."""

    num_steps: int = Field(gt=0)
    """Optimiser steps; batches run on over epochs, each with its own order of rows."""
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
    """Fit one dictionary to one site of a harvest."""

    root: str = Field(json_schema_extra=OPERATIONAL)
    """Store of the harvest and of the dictionary: file:///… or s3://bucket/prefix."""
    harvest: str
    """Id of a harvest of dense activations."""
    site: str
    """Site of that harvest, such as resid_post.12."""
    name: str
    """Name of the dictionary."""
    version: str | None = Field(default=None, json_schema_extra=OPERATIONAL)
    """Version of that name; null is the one made from this spec already, or else the next free number."""
    architecture: BatchTopKSpec
    """What kind of dictionary."""
    training: TrainingSpec
    """How it is optimised."""
    tracking: TrackingSpec = Field(default=TrackingSpec(), json_schema_extra=OPERATIONAL)
    """What is recorded while it trains."""
    checkpoint_every_steps: int = Field(default=500, gt=0, json_schema_extra=OPERATIONAL)
    """Steps between checkpoints: what an interruption costs at most."""
    num_workers: int = Field(default=1, gt=0, json_schema_extra=OPERATIONAL)
    """Processes that train, data parallel; the result is the same up to rounding."""
    cpus_per_worker: int = Field(default=2, gt=0, json_schema_extra=OPERATIONAL)
    """CPUs, and threads, of each."""
    use_gpu: bool = Field(default=False, json_schema_extra=OPERATIONAL)
    """One GPU for each."""
    max_failures: int = Field(default=3, ge=0, json_schema_extra=OPERATIONAL)
    """Restarts from the last checkpoint after a lost worker."""
    cache_dir: str = Field(default="/tmp/thresher/shards", json_schema_extra=OPERATIONAL)
    """Local folder on every node for shards of a remote store."""

    @field_validator("site")
    @classmethod
    def _site_is_well_formed(cls, site: str) -> str:
        return check_site_name("site", site)

    @field_validator("name", "version")
    @classmethod
    def _name_is_well_formed(cls, text: str | None, info: ValidationInfo) -> str | None:
        return None if text is None else check_name(str(info.field_name), text)

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""
        if self.training.learning_rate is not None:
            return self.training.learning_rate
        return REFERENCE_LEARNING_RATE / math.sqrt(self.architecture.num_latents / REFERENCE_NUM_LATENTS)

    def k_aux(self, d_in: int) -> int:
        """Dead latents a row that model the residual."""
        return self.architecture.k_aux or max(1, d_in // 2)
