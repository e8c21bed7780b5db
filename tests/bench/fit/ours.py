"""thresher's trainer, a batch a call, and the dictionary as it would be published."""

import torch

from fit.case import AUX_COEFFICIENT, BATCH_ROWS, D_IN, Case, Codes, K, measure
from thresher.dictionary.evaluation import fold_scale
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.threshold import calibrate_threshold
from thresher.dictionary.trainer import Trainer, initial_state


def _spec(case: Case) -> FitSpec:
    return FitSpec.parse(
        {
            "root": "file:///unused",
            "harvest": "planted",
            "site": "resid_post.0",
            "name": "planted",
            "architecture": {
                "kind": case.architecture,
                "num_latents": case.num_latents,
                "k": K,
                "aux_coefficient": AUX_COEFFICIENT,
            },
            "training": {
                "num_steps": case.num_steps,
                "batch_rows": BATCH_ROWS,
                "learning_rate": case.learning_rate,
                "warmup_fraction": 0,
                "decay_fraction": 0,
                "seed": case.seed,
            },
        }
    )


def main(case: Case) -> None:
    torch.set_num_threads(case.threads)
    spec, sample = _spec(case), torch.cat(case.batches()[:4])
    trainer = Trainer(spec, initial_state(spec, sample), torch.device("cpu"))

    def dictionary() -> Codes:
        encoder = fold_scale(trainer.weights, trainer.scale)
        encoder.threshold_F.fill_(calibrate_threshold(encoder, sample.split(BATCH_ROWS), len(sample), K))

        def codes(x_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = encoder.encode(x_BD)
            return encoder.decode(found), found.row_offsets.diff()

        return codes

    assert sample.shape[1] == D_IN
    measure(case, trainer.step, dictionary)


if __name__ == "__main__":
    main(Case.from_arguments())
