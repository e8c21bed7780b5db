"""SAELens' own trainer, a batch a call."""

import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

from fit.case import AUX_COEFFICIENT, BATCH_ROWS, D_IN, Case, K, dense_codes, measure


def _dictionary(case: Case):
    given = {"d_in": D_IN, "d_sae": case.num_latents, "dtype": "float32", "device": "cpu"}
    match case.architecture:
        case "topk":
            return TopKTrainingSAE(TopKTrainingSAEConfig(**given, k=K, aux_loss_coefficient=AUX_COEFFICIENT))
        case "batch_topk":
            return BatchTopKTrainingSAE(
                BatchTopKTrainingSAEConfig(**given, k=K, aux_loss_coefficient=AUX_COEFFICIENT)
            )
    return JumpReLUTrainingSAE(
        JumpReLUTrainingSAEConfig(**given, jumprelu_sparsity_loss_mode="quadratic", target_l0=K)
    )


def main(case: Case) -> None:
    torch.set_num_threads(case.threads)
    torch.manual_seed(case.seed)
    sae = _dictionary(case)
    config = SAETrainerConfig(
        total_training_samples=case.num_steps * BATCH_ROWS,
        train_batch_size_samples=BATCH_ROWS,
        lr=case.learning_rate,
        lr_end=case.learning_rate,
    )
    trainer = SAETrainer(config, sae, iter(()))

    def step(x_BD: torch.Tensor) -> None:
        trainer.step(x_BD)
        trainer.n_training_steps += 1

    measure(case, step, lambda: dense_codes(sae.encode, sae.decode))


if __name__ == "__main__":
    main(Case.from_arguments())
