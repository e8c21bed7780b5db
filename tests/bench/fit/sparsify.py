"""sparsify's coder in the step of its trainer, with Adam, and its eager decoder: Triton's needs a GPU."""

import os

import torch

from fit.case import AUX_COEFFICIENT, D_IN, Case, K, measure


def main(case: Case) -> None:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig, sparse_coder, utils

    sparse_coder.decoder_impl = utils.eager_decode
    torch.set_num_threads(case.threads)
    torch.manual_seed(case.seed)
    assert case.architecture == "topk", "it has no other of these architectures"
    coder = SparseCoder(
        D_IN, SparseCoderConfig(num_latents=case.num_latents, k=K), device="cpu", dtype=torch.float32
    )
    optimiser = torch.optim.Adam(coder.parameters(), lr=case.learning_rate)
    dead_F = torch.zeros(case.num_latents, dtype=torch.bool)
    begun = False

    def step(x_BD: torch.Tensor) -> None:
        nonlocal begun
        if not begun:
            coder.b_dec.data = x_BD.mean(dim=0)
            begun = True
        coder.set_decoder_norm_to_unit_norm()
        out = coder(x_BD, dead_mask=dead_F)
        (out.fvu + AUX_COEFFICIENT * out.auxk_loss).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()

    def codes(x_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = coder.encode(x_BD)
        return coder.decode(found.top_acts, found.top_indices), (found.top_acts > 0).sum(dim=1)

    measure(case, step, lambda: codes)


if __name__ == "__main__":
    main(Case.from_arguments())
