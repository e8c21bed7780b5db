"""thresher's trainer, a batch a call, and the dictionary as it would be published."""

from dataclasses import replace

import torch

from fit.case import AUX_COEFFICIENT, BATCH_ROWS, D_IN, Case, Codes, K, measure
from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.threshold import calibrate_threshold
from thresher.dictionary.training.trainer import Trainer, initial_state

ARCHITECTURES = {
    "topk": {"k": K, "aux_coefficient": AUX_COEFFICIENT},
    "batch_topk": {"k": K, "aux_coefficient": AUX_COEFFICIENT},
    "jumprelu": {"target_l0": K},
}


def _spec(case: Case) -> FitSpec:
    return FitSpec.parse(
        {
            "root": "file:///unused",
            "harvest": "planted",
            "target": {"kind": "autoencoder", "site": "resid_post.0"},
            "name": "planted",
            "architecture": {
                "kind": case.architecture,
                "num_latents": case.num_latents,
                **ARCHITECTURES[case.architecture],
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
    layout = PairLayout((D_IN,), (D_IN,))
    trainer = Trainer(
        spec, layout, initial_state(spec, layout, RowPairs.of_rows(sample)), torch.device("cpu")
    )

    def dictionary() -> Codes:
        encoder = trainer.dictionary()
        if case.architecture == "batch_topk":
            threshold = calibrate_threshold(encoder, sample.split(BATCH_ROWS), len(sample), K)
            encoder = replace(encoder, threshold_F=torch.full_like(encoder.threshold_F, threshold))

        def codes(x_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = encoder.encode(x_BD)
            return encoder.decode(found), found.row_offsets.diff()

        return codes

    measure(case, lambda x_BD: trainer.step(RowPairs.of_rows(x_BD)), dictionary)


if __name__ == "__main__":
    main(Case.from_arguments())
