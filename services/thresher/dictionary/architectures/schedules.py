"""What changes over a run, as functions of the step alone: a resumed fit needs no memory of them."""


def warmed_up(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Factor of a penalty that rises linearly from 0 to 1."""
    warmup = warmup_fraction * num_steps
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def annealed_p(step: int, num_steps: int, start_fraction: float, p_end: float) -> float:
    """Exponent that is 1 up to a share of the steps and falls linearly to p_end at the last (Karvonen et al. 2024)."""
    start, last = start_fraction * num_steps, num_steps - 1
    share = min(1.0, max(0.0, (step - start) / (last - start))) if last > start else 0.0
    return 1.0 - (1.0 - p_end) * share
