"""What kind of dictionary to fit: one section an architecture, told apart by `kind`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError

Share = Annotated[float, Field(ge=0, le=1)]


class ArchitectureSpec(Spec):
    """What every dictionary has."""

    num_latents: int = Field(gt=1)
    """Width of the dictionary."""

    def check_widths(self, d_in: int, site: str) -> None:
        """Raise SpecError if the dictionary cannot be one of inputs that wide."""


class DictionarySpec(ArchitectureSpec):
    """What every dictionary trained by gradient has."""

    decoder_norm: Literal["unit", "free"] = "unit"
    """Whether decoder rows are kept at norm 1 (of a crosscoder: the norms of a row's sites sum to 1), or learn their
    norm, which then weighs a latent in the penalty or in the selection, and is folded into the codes on save."""
    initial_decoder: Literal["random", "data"] | None = None
    """Decoder rows begin as random directions, or as the directions of training rows from their centre. The encoder
    begins as the transpose; a transcoder's as random directions or as the inputs of the same training rows. Null is
    data for transcoders, whose encoder and decoder would have nothing to do with each other, and random otherwise."""
    initial_bias: Literal["geometric_median", "mean", "zero"] = "geometric_median"
    """What the decoder's bias begins as, of the rows that are reconstructed."""
    whiten_input: bool = False
    """Whether inputs are whitened by their principal components, and all losses are those of whitened rows. Folded
    into the saved weights, whose codes are the same. Refused for crosscoders, since it would mix their sites."""


class SelectionSpec(DictionarySpec):
    """What dictionaries share whose active latents are the largest."""

    k: int = Field(gt=0)
    """Number of active latents a row; for BatchTopK and Matryoshka the mean over a batch."""
    k_aux: int | None = Field(default=None, gt=0)
    """Dead latents a row that model the residual; null is half of the input's width (Gao et al. 2024, A.2)."""
    aux_coefficient: float = Field(default=1 / 32, ge=0)
    """Weight of the loss of those dead latents; 0 leaves it out."""

    @model_validator(mode="after")
    def _fewer_active_than_latents(self) -> Self:
        if self.k >= self.num_latents:
            raise SpecError(
                "architecture.k",
                self.k,
                allowed=f"1 to {self.num_latents - 1}",
                mend="Lower k or raise num_latents.",
            )
        return self

    def check_widths(self, d_in: int, site: str) -> None:
        if self.k >= d_in:
            raise SpecError(
                "architecture.k",
                self.k,
                allowed=f"1 to {d_in - 1}",
                mend=f"Rows of {site} are {d_in} wide: lower k.",
            )


class TopKSpec(SelectionSpec):
    """TopK dictionary (Gao et al. 2024): the k largest latents of each row are active."""

    kind: Literal["topk"]
    """Architecture."""


class BatchTopKSpec(SelectionSpec):
    """BatchTopK dictionary (Bussmann et al. 2024): k active latents a row on average over a batch."""

    kind: Literal["batch_topk"]
    """Architecture."""


class MatryoshkaSpec(SelectionSpec):
    """Matryoshka dictionary (Bussmann et al. 2025): BatchTopK whose prefixes each reconstruct alone."""

    kind: Literal["matryoshka"]
    """Architecture."""
    prefixes: tuple[int, ...] | None = None
    """Widths of the nested dictionaries, ascending, the last one num_latents; null is 1/16, 1/8, 1/4, 1/2 and all."""
    prefix_weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Weight of each prefix in the loss, which is the weighted mean of the prefixes' losses; null weighs them alike."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the nested dictionaries."""
        if self.prefixes is not None:
            return self.prefixes
        return tuple(dict.fromkeys(max(1, self.num_latents >> shift) for shift in (4, 3, 2, 1, 0)))

    @model_validator(mode="after")
    def _prefixes_are_nested(self) -> Self:
        widths = self.widths
        if list(widths) != sorted(set(widths)) or widths[0] < 1 or widths[-1] != self.num_latents:
            raise SpecError(
                "architecture.prefixes",
                list(widths),
                allowed=f"ascending widths, the last one {self.num_latents}",
                mend="Order them and end with num_latents.",
            )
        if self.prefix_weights is not None and len(self.prefix_weights) != len(widths):
            raise SpecError(
                "architecture.prefix_weights",
                list(self.prefix_weights),
                allowed=f"{len(widths)} weights",
                mend="Give one weight a prefix.",
            )
        return self


class PenaltySpec(DictionarySpec):
    """What dictionaries share whose sparsity is a term of the loss.

    Losses are those of the papers on inputs of mean norm sqrt(width), summed over a row, divided by the variance of
    the rows: a penalty's coefficient is the paper's.
    """

    sparsity_warmup_fraction: Share = 0.05
    """Share of the steps over which the penalty rises from 0."""
    resample_at: tuple[Share, ...] = ()
    """Shares of the steps after which dead latents are set anew to badly reconstructed rows (Bricken et al. 2023);
    none by default."""


class ReluSpec(PenaltySpec):
    """ReLU dictionary with a penalty on its codes, weighted by decoder norms (Conerly et al. 2024)."""

    kind: Literal["relu"]
    """Architecture."""
    coefficient: float = Field(ge=0)
    """Weight of the penalty: 5 is usual for l1."""
    penalty: Literal["l1", "tanh", "p_annealed"] = "l1"
    """Sum of codes; of tanh(tanh_scale · code) (Jermyn et al. 2024); of code^p, p falling (Karvonen et al. 2024)."""
    tanh_scale: float = Field(default=4.0, gt=0)
    """Factor within tanh."""
    p_end: float = Field(default=0.2, gt=0, le=1)
    """What p falls to, linearly from 1, at the last step."""
    p_anneal_start: Share = 0.2
    """Share of the steps before p begins to fall."""


class GatedSpec(PenaltySpec):
    """Gated dictionary (Rajamanoharan et al. 2024a): one part says which latents are active, another how much."""

    kind: Literal["gated"]
    """Architecture."""
    coefficient: float = Field(ge=0)
    """Weight of the L1 penalty on the gate's positive pre-activations."""


class JumpReluSpec(PenaltySpec):
    """JumpReLU dictionary (Rajamanoharan et al. 2024b): each latent learns the threshold that it is active above."""

    kind: Literal["jumprelu"]
    """Architecture."""
    penalty: Literal["l0", "tanh"] = "l0"
    """Number of active latents, or the sum of tanh(tanh_scale · code) (Conerly et al. 2025)."""
    target_l0: float | None = Field(default=None, gt=0)
    """Active latents a row that coefficient · (L0 / target_l0 - 1)^2 aims at; null penalises L0 itself, at
    coefficient · L0 in units of the rows' variance."""
    coefficient: float = Field(default=1.0, ge=0)
    """Weight of the penalty."""
    tanh_scale: float = Field(default=4.0, gt=0)
    """Factor within tanh."""
    pre_act_coefficient: float = Field(default=0.0, ge=0)
    """Weight of sum relu(threshold - z), weighted by decoder norms, which pulls latents that are not active up to their
    threshold (Conerly et al. 2025, where it is 3e-6 beside the tanh penalty)."""
    bandwidth: float = Field(default=0.5, gt=0)
    """Width around a threshold within which pre-activations move it, for inputs of mean norm sqrt(width)."""
    initial_threshold: float = Field(default=0.1, gt=0)
    """Of each latent, for inputs of mean norm sqrt(width), where initial_l0 is null."""
    threshold_rate: float | None = Field(default=None, gt=0)
    """Learning rate of log thresholds, in multiples of that of the weights. Null is 10 with a target, since thresholds
    must be able to double where the weights hardly turn, and 1 otherwise."""
    initial_l0: float | None = Field(default=None, gt=0)
    """Active latents a row at the start: each latent's threshold begins where it is active that often on the initial
    rows. Null is 2 · target_l0 if there is a target, or else initial_threshold for all."""

    @model_validator(mode="after")
    def _target_is_of_l0(self) -> Self:
        if self.penalty != "l0" and self.target_l0 is not None:
            raise SpecError(
                "architecture.target_l0",
                self.target_l0,
                mend="A target is one of the l0 penalty: leave it out.",
            )
        for name, l0 in (("target_l0", self.target_l0), ("initial_l0", self.initial_l0)):
            if l0 is not None and l0 >= self.num_latents:
                raise SpecError(
                    f"architecture.{name}",
                    l0,
                    allowed=f"less than {self.num_latents}",
                    mend="Lower it or raise num_latents.",
                )
        return self


TrainedSpec = TopKSpec | BatchTopKSpec | MatryoshkaSpec | ReluSpec | GatedSpec | JumpReluSpec
