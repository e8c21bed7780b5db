"""Cross-entropy and KL divergence of every sequence, in nats.

Shape suffixes: B sequences of a batch, L tokens a sequence, V vocabulary.
"""

import torch
from torch.nn import functional


def log_probabilities(logits_BLV: torch.Tensor) -> torch.Tensor:
    """Of the next token at each position that has one: [B, L - 1, V]."""
    return functional.log_softmax(logits_BLV[:, :-1], dim=-1)


def cross_entropy(log_p_BLV: torch.Tensor, token_ids_BL: torch.Tensor) -> torch.Tensor:
    """sum_B over the tokens of a sequence but its first of -log p, float64."""
    next_BL1 = token_ids_BL[:, 1:, None].to(log_p_BLV.device)
    return -log_p_BLV.gather(2, next_BL1).double().sum(dim=(1, 2)).cpu()


def kl_divergence(log_p_BLV: torch.Tensor, log_q_BLV: torch.Tensor) -> torch.Tensor:
    """sum_B over positions of sum over V of p (log p - log q), float64; a sequence at a time, since V is large."""
    return torch.stack(
        [
            (log_p_LV.exp() * (log_p_LV - log_q_LV)).sum(dim=-1).double().sum().cpu()
            for log_p_LV, log_q_LV in zip(log_p_BLV, log_q_BLV, strict=True)
        ]
    )
