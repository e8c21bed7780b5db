"""Which stored sequences the canary compares, and where their rows lie.

Shape suffixes: S sequences of the sample, L tokens a sequence, N rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import HarvestManifest, ShardCommit
from thresher.evaluation.stored_rows import IndexArray
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet


@dataclass(frozen=True)
class SampledRows:
    """Rows of the sampled sequences that lie in one shard."""

    shard: ShardCommit
    rows_N: IndexArray
    """Their numbers in the shard's files."""
    sequences_N: IndexArray
    positions_N: IndexArray


def draw_sequences(manifest: HarvestManifest, count: int, seed: int) -> IndexArray:
    """Sequences of the harvest in ascending order: as many shards as can be, then as many of each."""
    rng = np.random.default_rng(seed)
    shards = [manifest.shards[index] for index in rng.permutation(len(manifest.shards))]
    queues = [
        (shard.first_sequence + rng.permutation(shard.num_sequences)[:count]).tolist() for shard in shards
    ]
    rounds = (item for turn in zip_longest(*queues) for item in turn if item is not None)
    drawn = islice(rounds, count)
    return np.array(sorted(drawn), dtype=np.int64)


def locate(
    store: ObjectStore,
    manifest: HarvestManifest,
    sequences_S: IndexArray,
    token_ids_SL: npt.NDArray[np.int32],
) -> Iterator[SampledRows]:
    """The stored rows of the sequences, shard by shard.

    Raises:
        IntegrityError: a row is filed under another token than the corpus has there, or is missing; names it.
    """
    for shard in manifest.shards:
        stop = shard.first_sequence + shard.num_sequences
        num_own = int(((sequences_S >= shard.first_sequence) & (sequences_S < stop)).sum())
        if not num_own:
            continue
        table = read_parquet(pa.BufferReader(store.get(shard.rows.key)), ["sequence", "position", "token_id"])
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
            yield SampledRows(shard, rows_N, sequences, positions)


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
