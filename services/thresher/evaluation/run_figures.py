"""Rates and stalls of the runs that made a harvest, as their coordinator recorded them."""

from pydantic import BaseModel, ConfigDict, ValidationError

from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError
from thresher.storage import ObjectStore


class RunFigures(BaseModel):
    """One run, as far as a report shows it. A record may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    num_tokens: int
    num_rows: int
    bytes: int
    elapsed_s: float
    tokens_per_s: float
    engine_wait_s: float
    """Time that engines stood still because the store was slower, summed over actors."""
    num_actors: int
    failures: int

    @property
    def wait_share(self) -> float:
        """Of the actors' time."""
        total_s = self.elapsed_s * self.num_actors
        return self.engine_wait_s / total_s if total_s else 0.0


def read_run_figures(store: ObjectStore, harvest_id: str) -> list[RunFigures]:
    """Every recorded run, oldest first.

    Raises:
        IntegrityError: a record is damaged; names it.
    """
    found = []
    for info in store.list(f"{paths.harvest_runs(paths.harvest(harvest_id))}/"):
        try:
            found.append(RunFigures.model_validate_json(store.get(info.key)))
        except ValidationError as error:
            raise IntegrityError(
                f"{store.url}/{info.key} is no record of a run ({error.errors()[0]['msg']}): delete it."
            ) from error
    return found
