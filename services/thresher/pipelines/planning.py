"""What a label run would take, from its spec file."""

from collections.abc import Sequence

from thresher.labeling.spec import LabelSpec


def label_plan_lines(spec_path: str, overrides: Sequence[str], *, as_json: bool = False) -> list[str]:
    """Load a spec and plan its run; no model is asked. Returns the lines to print."""
    from thresher.labeling.run import plan

    found = plan(LabelSpec.load(spec_path, overrides))
    return [found.to_json()] if as_json else found.lines()


def limited(overrides: Sequence[str], max_tokens: int | None, max_cost: float | None) -> list[str]:
    """Overrides of a spec with the limits of the budget that the command was given."""
    limits = {"budget.max_tokens": max_tokens, "budget.max_cost": max_cost}
    return [*overrides, *(f"{key}={value}" for key, value in limits.items() if value is not None)]
