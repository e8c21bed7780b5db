"""dictionary_learning's own trainers."""

import torch
from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.top_k import TopKTrainer

from fit.case import AUX_COEFFICIENT, D_IN, Case, K, dense_codes, measure


def _trainer(case: Case):
    given = {
        "steps": case.num_steps,
        "activation_dim": D_IN,
        "dict_size": case.num_latents,
        "layer": 0,
        "lm_name": "planted",
        "lr": case.learning_rate,
        "warmup_steps": 0,
        "seed": case.seed,
        "device": "cpu",
    }
    match case.architecture:
        case "topk":
            return TopKTrainer(**given, k=K, auxk_alpha=AUX_COEFFICIENT)
        case "batch_topk":
            # Its threshold of inference exists from this step on only; by default a run this short has none.
            return BatchTopKTrainer(**given, k=K, auxk_alpha=AUX_COEFFICIENT, threshold_start_step=0)
    return JumpReluTrainer(**given, target_l0=K, sparsity_warmup_steps=None)


def main(case: Case) -> None:
    torch.set_num_threads(case.threads)
    torch.manual_seed(case.seed)
    trainer, done = _trainer(case), 0

    def step(x_BD: torch.Tensor) -> None:
        nonlocal done
        trainer.update(done, x_BD)
        done += 1

    measure(case, step, lambda: dense_codes(trainer.ae.encode, trainer.ae.decode))


if __name__ == "__main__":
    main(Case.from_arguments())
