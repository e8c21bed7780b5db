"""The canary: some stored sequences against a reference forward pass of the same model.

Checksums say that the bytes are those that were written; this says that what was written is what the model computes, at
the tokens and positions that it was filed under.

Shape suffixes: S sequences of the sample, L tokens a sequence, N rows, D width of a site.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from thresher.activations.sequences import open_sequences
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import HarvestManifest, Record
from thresher.evaluation.canary_errors import code_errors, dense_errors
from thresher.evaluation.canary_sample import SampledRows, draw_sequences, locate
from thresher.evaluation.canary_tolerance import Tolerance, compute_dtype, tolerance
from thresher.evaluation.stored_rows import FloatArray, IndexArray, dense_values, read_rows
from thresher.harvest.reference_forward import reference_rows
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import load_encoder
from thresher.runtime.model_identity import check_same_model
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

NUM_SEQUENCES = 8
MAX_NAMED = 8
"""Rows named of each site that does not agree."""


class RowError(Record):
    sequence: int
    position: int
    error: float
    """Relative to the row's norm."""
    allowed: float

    def __str__(self) -> str:
        place = f"sequence {self.sequence} position {self.position}"
        return f"{place} is off by {self.error:.2g} (allowed {self.allowed:.2g})"


class SiteAgreement(Record):
    """Relative row errors of one site."""

    site: str
    num_rows: int
    num_unstable: int
    """Rows not judged: in the engines' type, rounding alone decides what they are."""
    median: float
    median_allowed: float
    worst: RowError
    """The row that is nearest to what is allowed to it, or furthest beyond."""
    faults: list[RowError]
    """Rows beyond what is allowed to them, the worst first; at most 8."""

    @property
    def agrees(self) -> bool:
        return self.median <= self.median_allowed and not self.faults

    def lines(self) -> Iterator[str]:
        """The verdict, and a line a row at fault."""
        verdict = "agrees" if self.agrees else "DISAGREES"
        yield (
            f"{self.site}: {verdict} with the model on {self.num_rows:,} rows: relative error median "
            f"{self.median:.2g} (allowed {self.median_allowed:.2g}), worst row: {self.worst}"
        )
        if self.num_unstable:
            yield f"{self.site}: {self.num_unstable:,} rows are not judged: rounding alone decides what they are"
        for fault in self.faults:
            yield f"{self.site}: {fault}"


@dataclass(frozen=True)
class _Reference:
    """Rows of the sampled sequences by transformers."""

    x_by_site: Mapping[str, FloatArray]
    """[S, L, D] in float32."""
    rounded_by_site: Mapping[str, FloatArray]
    """The same in the engines' type."""


def check_canary(
    store: ObjectStore, harvest_id: str, model: str, *, num_sequences: int = NUM_SEQUENCES, seed: int = 0
) -> list[SiteAgreement]:
    """Compare every stored row of some sequences, spread over the shards, with a float32 forward pass.

    Args:
        store: where the harvest and its corpus lie.
        harvest_id: of a dense harvest, or of a sparse one, whose codes are compared with the dictionary's of the
            reference rows.
        model: folder of the model that was harvested.
        num_sequences: how many to draw.
        seed: the same seed draws the same sequences.

    Raises:
        SpecError: the folder holds another model, or the harvest came from none.
        MissingArtifactError: the harvest, its corpus or its dictionary is not in the store.
        IntegrityError: a row is filed under another token than the corpus has there, or is missing; names it.
    """
    manifest = read_record(store, paths.manifest(paths.harvest(harvest_id)), HarvestManifest)
    if manifest.model is None or manifest.corpus_id is None:
        raise SpecError("--model", model, mend="Imported activations have no model here: leave it out.")
    check_same_model("--model", manifest.model, model)
    sequences_S = draw_sequences(manifest, num_sequences, seed)
    corpus = open_sequences(store, manifest.corpus_id)
    token_ids_SL = np.concatenate([corpus.token_ids(item, item + 1) for item in sequences_S.tolist()])
    sampled = list(locate(store, manifest, sequences_S, token_ids_SL))
    if not sampled:
        raise SpecError(
            "--sequences", num_sequences, mend="The harvest keeps no row of the sequences drawn: draw more."
        )
    encoder = _harvest_encoder(store, manifest)
    reference = _forward(manifest, Path(model), token_ids_SL)
    return [
        _compare(store, manifest, site, sampled, sequences_S, reference, encoder) for site in manifest.sites
    ]


def _forward(manifest: HarvestManifest, model: Path, token_ids_SL: npt.NDArray[np.int32]) -> _Reference:
    sites, family, dtype = list(manifest.sites), manifest.spec.get("family"), compute_dtype(manifest)
    exact = reference_rows(model, token_ids_SL, sites, torch.float32, family)
    if dtype == "float32":
        return _Reference(exact, exact)
    return _Reference(exact, reference_rows(model, token_ids_SL, sites, getattr(torch, dtype), family))


def _harvest_encoder(store: ObjectStore, manifest: HarvestManifest) -> SparseEncoder | None:
    if manifest.dictionary is None:
        return None
    encoder, dictionary = load_encoder(store, str(manifest.dictionary))
    if dictionary.ref() != manifest.dictionary:
        raise IntegrityError(f"{manifest.dictionary} has other weights than the harvest was encoded with.")
    return encoder


def _compare(
    store: ObjectStore,
    manifest: HarvestManifest,
    site: str,
    sampled: list[SampledRows],
    sequences_S: IndexArray,
    reference: _Reference,
    encoder: SparseEncoder | None,
) -> SiteAgreement:
    sequences_N = np.concatenate([part.sequences_N for part in sampled])
    positions_N = np.concatenate([part.positions_N for part in sampled])
    places = np.searchsorted(sequences_S, sequences_N), positions_N
    reference_ND = reference.x_by_site[site][places]
    rounding_N = dense_errors(reference.rounded_by_site[site][places], reference_ND)
    tables = [read_rows(store, part.shard.sites[site], part.shard.num_rows, part.rows_N) for part in sampled]
    if encoder is None:
        width = manifest.sites[site].width
        x_ND = np.concatenate([dense_values(table, width) for table in tables])
        errors_N = dense_errors(x_ND, reference_ND)
    else:
        errors_N = code_errors(pa.concat_tables(tables), reference_ND, encoder)
    return _agreement(
        site,
        sequences_N,
        positions_N,
        np.nan_to_num(errors_N, nan=np.inf),
        tolerance(manifest, site, rounding_N),
    )


def _agreement(
    site: str,
    sequences_N: IndexArray,
    positions_N: IndexArray,
    errors_N: FloatArray,
    allowed: Tolerance,
) -> SiteAgreement:
    share_N = errors_N / allowed.rows_N
    worst_first = [
        RowError(
            sequence=int(sequences_N[row]),
            position=int(positions_N[row]),
            error=float(errors_N[row]),
            allowed=float(allowed.rows_N[row]),
        )
        for row in np.argsort(-share_N, kind="stable")[:MAX_NAMED]
    ]
    return SiteAgreement(
        site=site,
        num_rows=len(errors_N),
        num_unstable=allowed.num_unstable,
        median=float(np.median(errors_N)),
        median_allowed=allowed.median,
        worst=worst_first[0],
        faults=[row for row in worst_first if row.error > row.allowed],
    )
