"""features/build.py over the stored harvest: statistics, and exemplars of four splits and seven kinds, as Parquet.

Without output tokens: they need the model, and Delphi has none.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from exemplars.case import Case, Stages
from thresher.features.build import build_features
from thresher.features.spec import FeaturesSpec

ALIKE = {
    "split_shares": {"explain": 1.0, "calibrate": 0.0, "select": 0.0},
    "top_exemplars": 1,
    "quantile_exemplars": 40,
    "random_exemplars": 0,
    "negatives": 25,
    "hard_negatives": 0,
}
"""About what Delphi makes: 132 examples a latent in two splits; it makes 140."""


def _spec(folder: str, harvest: str, tokenizer: str, side: str) -> FeaturesSpec:
    given = {
        "root": Path(folder, "store").as_uri(),
        "harvest": harvest,
        "tokenizer": tokenizer,
        "output": None,
    }
    return FeaturesSpec.model_validate(given | (ALIKE if side == "alike" else {}))


def main(case: Case) -> None:
    warm = json.loads(Path(case.folder).with_name("warm.json").read_text())
    build_features(_spec(warm["folder"], warm["harvest"], case.tokenizer, case.side))  # loads compiled code
    stages = Stages()
    with stages.timed("build"):
        made = build_features(_spec(case.folder, case.harvest, case.tokenizer, case.side))
    store = Path(case.folder, "store")
    exemplars = sum(pq.read_metadata(store / entry.key).num_rows for entry in made.exemplars)
    states = pq.read_table(store / made.stats.key, columns=["state"])["state"].to_pylist()
    stages.answer(num_examples=exemplars, num_latents=states.count("ok"))


if __name__ == "__main__":
    main(Case.from_arguments())
