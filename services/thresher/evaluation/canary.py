"""The canary: some stored sequences against a reference forward pass of the same model.

Checksums say that the bytes are those that were written; this says that what was written is what the model computes, at
the tokens and positions that it was filed under.

Shape suffixes: S sequences of the sample, L tokens a sequence, N rows, D width of a site.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from thresher.activations.sequences import open_sequences
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import HarvestManifest, ModelIdentity, Record, ShardCommit
from thresher.evaluation.canary_errors import code_errors, dense_errors
from thresher.evaluation.canary_tolerance import Tolerance, tolerance
from thresher.evaluation.stored_rows import FloatArray, IndexArray, dense_values, read_rows
from thresher.harvest.reference_forward import reference_rows
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import load_encoder
from thresher.runtime.model_identity import identify_model
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

NUM_SEQUENCES = 8
MAX_NAMED = 8
"""Rows named of each site that does not agree."""


class RowFault(Record):
    sequence: int
    position: int
    error: float


class SiteAgreement(Record):
    """Relative row errors of one site."""

    site: str
    num_rows: int
    median: float
    worst: float
    tolerance: Tolerance
    faults: list[RowFault]
    """Rows beyond the tolerance of the worst row, the worst first; at most 8."""

    @property
    def agrees(self) -> bool:
        return self.median <= self.tolerance.median and self.worst <= self.tolerance.worst

    def lines(self) -> Iterator[str]:
        """The verdict, and a line a row at fault."""
        verdict = "agrees" if self.agrees else "DISAGREES"
        yield (
            f"{self.site}: {verdict} with the model on {self.num_rows:,} rows: relative error median "
            f"{self.median:.2g} (allowed {self.tolerance.median:.2g}), worst {self.worst:.2g} (allowed "
            f"{self.tolerance.worst:.2g})"
        )
        for fault in self.faults:
            yield f"{self.site}: sequence {fault.sequence} position {fault.position} is off by {fault.error:.2g}"


@dataclass(frozen=True)
class _SampledRows:
    """Rows of the sampled sequences that lie in one shard."""

    shard: ShardCommit
    rows_N: IndexArray
    """Their numbers in the shard's files."""
    sequences_N: IndexArray
    positions_N: IndexArray


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
    _check_model(manifest.model, model)
    sequences_S = draw_sequences(manifest, num_sequences, seed)
    corpus = open_sequences(store, manifest.corpus_id)
    token_ids_SL = np.concatenate([corpus.token_ids(item, item + 1) for item in sequences_S.tolist()])
    sampled = list(_locate(store, manifest, sequences_S, token_ids_SL))
    if not sampled:
        raise SpecError(
            "--sequences", num_sequences, mend="The harvest keeps no row of the sequences drawn: draw more."
        )
    encoder = _harvest_encoder(store, manifest)
    reference = reference_rows(
        Path(model), token_ids_SL, list(manifest.sites), torch.float32, manifest.spec.get("family")
    )
    return [
        _compare(store, manifest, site, sampled, _by_sequence(sequences_S, reference[site]), encoder)
        for site in manifest.sites
    ]


def _check_model(expected: ModelIdentity, folder: str) -> None:
    found = identify_model(folder)
    for name in ("config_sha256", "weights_sha256", "tokenizer_sha256"):
        due, given = getattr(expected, name), getattr(found, name)
        if due != given:
            what = name.removesuffix("_sha256")
            raise SpecError(
                "--model",
                folder,
                mend=f"The harvest was made with {expected.name}, whose {what} has the sha256 {due[:12]}…; that of "
                f"this folder is {given[:12]}…: give the folder of that very model.",
            )


def _harvest_encoder(store: ObjectStore, manifest: HarvestManifest) -> SparseEncoder | None:
    if manifest.dictionary is None:
        return None
    encoder, dictionary = load_encoder(store, str(manifest.dictionary))
    if dictionary.ref() != manifest.dictionary:
        raise IntegrityError(f"{manifest.dictionary} has other weights than the harvest was encoded with.")
    return encoder


def draw_sequences(manifest: HarvestManifest, count: int, seed: int) -> IndexArray:
    """Sequences of the harvest in ascending order: as many shards as can be, then as many of each."""
    rng = np.random.default_rng(seed)
    shards = [manifest.shards[index] for index in rng.permutation(len(manifest.shards))[:count]]
    drawn: list[int] = []
    for index, shard in enumerate(shards):
        quota = count // len(shards) + (index < count % len(shards))
        picked = rng.permutation(shard.num_sequences)[:quota]
        drawn += (shard.first_sequence + picked).tolist()
    return np.array(sorted(drawn), dtype=np.int64)


def _locate(
    store: ObjectStore,
    manifest: HarvestManifest,
    sequences_S: IndexArray,
    token_ids_SL: npt.NDArray[np.int32],
) -> Iterator[_SampledRows]:
    for shard in manifest.shards:
        stop = shard.first_sequence + shard.num_sequences
        num_own = int(((sequences_S >= shard.first_sequence) & (sequences_S < stop)).sum())
        if not num_own:
            continue
        table = pq.read_table(
            io.BytesIO(store.get(shard.rows.key)), columns=["sequence", "position", "token_id"]
        )
        rows_N = np.flatnonzero(np.isin(np.asarray(table["sequence"]), sequences_S))
        sequences, positions, tokens = (
            np.asarray(column)[rows_N].astype(np.int64) for column in table.columns
        )
        name, due = f"{store.url}/{shard.rows.key}", num_own * manifest.sequence_length
        if manifest.selection.keeps_all and len(rows_N) != due:
            raise IntegrityError(f"{name} has {len(rows_N)} rows of {num_own} whole sequences, not {due}.")
        _check_tokens(
            name, sequences, positions, tokens, token_ids_SL[np.searchsorted(sequences_S, sequences)]
        )
        if rows_N.size:
            yield _SampledRows(shard, rows_N, sequences, positions)


def _check_tokens(
    name: str,
    sequences_N: IndexArray,
    positions_N: IndexArray,
    tokens_N: IndexArray,
    token_ids_NL: npt.NDArray[np.int32],
) -> None:
    """Raise IntegrityError if a row is filed under another token than the corpus has at its address."""
    expected_N = token_ids_NL[np.arange(len(tokens_N)), positions_N]
    wrong = np.flatnonzero(tokens_N != expected_N)
    if wrong.size:
        row = int(wrong[0])
        raise IntegrityError(
            f"{name} files sequence {sequences_N[row]} position {positions_N[row]} under token {tokens_N[row]}; the "
            f"corpus has {expected_N[row]} there: harvest again."
        )


def _by_sequence(sequences_S: IndexArray, x_SLD: FloatArray) -> dict[int, FloatArray]:
    return dict(zip(sequences_S.tolist(), x_SLD, strict=True))


def _compare(
    store: ObjectStore,
    manifest: HarvestManifest,
    site: str,
    sampled: list[_SampledRows],
    reference: Mapping[int, FloatArray],
    encoder: SparseEncoder | None,
) -> SiteAgreement:
    errors, sequences, positions = [], [], []
    for part in sampled:
        table = read_rows(store, part.shard.sites[site], part.shard.num_rows, part.rows_N)
        places = zip(part.sequences_N.tolist(), part.positions_N.tolist(), strict=True)
        reference_ND = np.stack([reference[sequence][position] for sequence, position in places])
        if encoder is None:
            errors.append(dense_errors(dense_values(table, manifest.sites[site].width), reference_ND))
        else:
            errors.append(code_errors(table, reference_ND, encoder))
        sequences.append(part.sequences_N)
        positions.append(part.positions_N)
    errors_N = np.nan_to_num(np.concatenate(errors), nan=np.inf)
    addresses = list(zip(np.concatenate(sequences).tolist(), np.concatenate(positions).tolist(), strict=True))
    allowed = tolerance(manifest, site)
    faults = [
        RowFault(sequence=addresses[row][0], position=addresses[row][1], error=float(errors_N[row]))
        for row in np.argsort(-errors_N, kind="stable")[:MAX_NAMED]
        if errors_N[row] > allowed.worst
    ]
    return SiteAgreement(
        site=site,
        num_rows=len(errors_N),
        median=float(np.median(errors_N)),
        worst=float(errors_N.max()),
        tolerance=allowed,
        faults=faults,
    )
