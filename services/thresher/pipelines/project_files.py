"""Files of the project that are no Python package: jobs and the demo's specs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from thresher.config import Spec
from thresher.contracts.errors import ThresherError

SpecT = TypeVar("SpecT", bound=Spec)


def jobs_folder() -> Path:
    """`jobs/` of the checkout that this package runs from.

    Raises:
        ThresherError: the package was installed without its checkout.
    """
    folder = Path(__file__).resolve().parents[3] / "jobs"
    if not (folder / "configs").is_dir():
        raise ThresherError(
            f"{folder} is not there: run this from a checkout, installed with `pip install -e .`."
        )
    return folder


def demo_spec(stage: str, spec: type[SpecT], overrides: Sequence[str]) -> SpecT:
    """One of jobs/configs/demo, with what is known only now."""
    return spec.load(jobs_folder() / "configs" / "demo" / f"{stage}.yaml", overrides)
