"""What is recorded of a step. A record is a function of the fit alone; times of day and rates are kept apart."""

from thresher.contracts.manifests import Record


class StepRecord(Record):
    """A line of training/metrics.jsonl, over the global batch of its step unless it says otherwise."""

    step: int
    """Steps done."""
    num_rows: int
    """Rows seen."""
    losses: dict[str, float]
    """Each part of the loss, without its coefficient."""
    fvu: float
    """Fraction of variance unexplained, by the variance of the initial sample."""
    l0: float
    dead_fraction: float
    """Share of latents not active for training.dead_after_rows."""
    learning_rate: float
    gradient_norm: float
    """Of the gradient that the optimiser was given, all weights together."""
    holdout_fvu: float
    """Of a fixed sample of held-out rows, encoded as at inference."""
    holdout_fvu_without_outliers: float | None
    """The same without rows of more than 8 x the median norm."""
    holdout_l0: float
    dense_fraction: float
    """Share of latents active on more than 10 % of that sample."""


class StepTiming(Record):
    """A line of training/timing.jsonl: of the steps since the last record of the same run."""

    step: int
    rows_per_s: float
    data_wait_share: float
    """Share of the time that training waited for data."""


def scalars(record: StepRecord, timing: StepTiming) -> dict[str, float]:
    """Every figure by the name that trackers show it under."""
    figures = record.model_dump(exclude={"step", "losses"}) | timing.model_dump(exclude={"step"})
    losses = {f"loss/{name}": value for name, value in record.losses.items()}
    return {**losses, **{name: float(value) for name, value in figures.items() if value is not None}}
