"""The limit: the codes read once, checked against their hashes and their contract, and nothing done with them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from exemplars.case import Case, Stages
from thresher.activations.codes_reader import open_codes
from thresher.storage import open_store


def main(case: Case) -> None:
    reader = open_codes(open_store(Path(case.folder, "store").as_uri()), case.harvest)
    stages = Stages()
    with stages.timed("read"):
        for _ in reader:
            pass
    stages.answer()


if __name__ == "__main__":
    main(Case.from_arguments())
