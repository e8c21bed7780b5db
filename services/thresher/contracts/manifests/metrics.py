"""How good a dictionary is."""

from pydantic import Field

from thresher.contracts.manifests.record import Record


class NormBand(Record):
    """Rows whose norm lies in one range; together the bands hold every row."""

    above_norm: float
    """Norms above this one, up to the next band's; the first band also has rows of norm 0."""
    num_rows: int
    variance_share: float
    """Of sum |y - mean(y)|^2 over all rows."""
    error_share: float
    """Of sum |y - y_hat|^2 over all rows."""
    fvu: float | None
    """Error over variance of the band, both as above; null where the band has no variance."""


class ReconstructionMetrics(Record):
    """Of a dictionary, over held-out rows: y is what it reconstructs, of an autoencoder its own input.

    docs/metrics.md has each definition, its source and its pitfalls. Null and empty: not measured, or undefined.
    """

    explained_variance: float
    """1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2."""
    fvu: float
    """1 - explained_variance."""
    l0: float
    """Mean number of active latents a row."""
    dead_fraction: float
    """Share of latents that no held-out row activates."""
    num_rows: int
    fvu_by_site: dict[str, float] = Field(default_factory=dict)
    """FVU of each site's columns, where y is several sites side by side."""
    fvu_without_outliers: float | None = None
    """FVU over rows whose norm is at most 8 x the median, with the mean of those rows."""
    outlier_share: float | None = None
    """Share of rows above that norm."""
    outlier_variance_share: float | None = None
    """Their share of sum |y - mean(y)|^2."""
    norm_bands: list[NormBand] = Field(default_factory=list)
    """Rows by the deciles of their norm, with the outliers apart."""
    l0_quantiles: dict[str, float] = Field(default_factory=dict)
    """Of the number of active latents a row."""
    dense_fraction: float | None = None
    """Share of latents that more than 10 % of the rows activate."""
    density_counts: dict[int, int] = Field(default_factory=dict)
    """Latents by density: key b counts those in [10^(b/4), 10^((b+1)/4)); dead ones are left out."""
    relative_reconstruction_bias: float | None = None
    """gamma = sum |y_hat|^2 / sum y_hat . y; below 1 where reconstructions are too short."""
    centred_reconstruction_bias: float | None = None
    """The same of y_hat and y less the mean of y."""
    norm_ratio: float | None = None
    """Mean of |y_hat| / |y|, over rows of norm above 0."""
    cosine: float | None = None
    """Mean cosine of y_hat and y, over rows where both norms are above 0."""
    decoder_cosine_quantiles: dict[str, float] = Field(default_factory=dict)
    """Over latents: the largest |cosine| of a decoder row with another latent's."""
    decoder_cosine_counts: dict[int, int] = Field(default_factory=dict)
    """The same as a histogram: key b counts latents in [b/20, (b+1)/20), the last one closed."""
