"""Which positions of a corpus's sequences a selection stores.

Shape suffixes: S sequences of the asked range, L positions of a sequence, R role spans of the range.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.activations.priority import priority
from thresher.activations.sequences import Sequences, token_ids_of
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import CorpusManifest, SplitRange
from thresher.contracts.row_selection import RowSelection

BoolArray = npt.NDArray[np.bool_]

CHECKED_SEQUENCES = 256


class RowSelector:
    """A selection over one corpus. What it says of a position hangs on nothing but the two and the position.

    Raises:
        SpecError: the selection asks for positions or roles that the corpus does not have.
    """

    def __init__(self, selection: RowSelection, manifest: CorpusManifest) -> None:
        if selection.min_position >= manifest.sequence_length:
            raise SpecError(
                "selection.min_position",
                selection.min_position,
                allowed=f"0 to {manifest.sequence_length - 1}",
                mend=f"Sequences of {manifest.corpus_id} have {manifest.sequence_length} positions: start earlier.",
            )
        _check_roles(selection, manifest)
        self._selection, self._length = selection, manifest.sequence_length
        special = manifest.special_token_ids if selection.skip_special_tokens else []
        self._skipped = np.array(sorted({*special, *selection.skip_tokens}), dtype=np.int64)

    def mask(self, sequences: Sequences, start: int, stop: int) -> BoolArray:
        """Whether each position of sequences [start, stop) is stored: bool [stop - start, L]."""
        selection = self._selection
        kept_SL: BoolArray = np.ones((stop - start, self._length), dtype=np.bool_)
        kept_SL[:, : selection.min_position] = False
        if self._skipped.size or selection.roles is not None:
            table = sequences.table(start, stop)
            kept_SL &= ~np.isin(token_ids_of(table, self._length), self._skipped)
            if selection.roles is not None:
                kept_SL &= _of_roles(table, selection.roles, self._length)
        if selection.fraction < 1:
            kept_SL &= self._drawn(start, stop)
        return kept_SL

    def check(self, sequences: Sequences, splits: Iterable[SplitRange]) -> None:
        """Read each split until a position of it is kept.

        Raises:
            SpecError: the selection keeps no row of one of the splits.
        """
        for split in splits:
            ranges = (
                (first, min(first + CHECKED_SEQUENCES, split.stop))
                for first in range(split.start, split.stop, CHECKED_SEQUENCES)
            )
            if not any(self.mask(sequences, first, last).any() for first, last in ranges):
                raise SpecError(
                    "selection",
                    self._selection.model_dump(mode="json", exclude_defaults=True),
                    mend=f"It keeps no row of split {split.split}: keep more, or harvest other splits.",
                )

    def _drawn(self, start: int, stop: int) -> BoolArray:
        """A draw is lower than the fraction or not, so a larger fraction of the same seed keeps these rows too."""
        draws_SL = priority(
            self._selection.seed % 2**64,
            np.arange(start, stop, dtype=np.int64)[:, None],
            np.arange(self._length, dtype=np.int64),
        )
        drawn_SL: BoolArray = draws_SL < np.uint64(int(self._selection.fraction * 2**64))
        return drawn_SL


def _check_roles(selection: RowSelection, manifest: CorpusManifest) -> None:
    if selection.roles is None:
        return
    if not manifest.roles:
        raise SpecError(
            "selection.roles",
            list(selection.roles),
            mend=f"Corpus {manifest.corpus_id} holds plain text: leave roles out, or build it from conversations.",
        )
    unknown = sorted(set(selection.roles) - set(manifest.roles))
    if unknown or not selection.roles:
        raise SpecError(
            "selection.roles",
            unknown or list(selection.roles),
            allowed=manifest.roles,
            mend="Name roles of the corpus.",
        )


def _of_roles(table: pa.Table, roles: Iterable[str], length: int) -> BoolArray:
    column = table.column("roles").combine_chunks()
    spans = pc.list_flatten(column)
    first_R = np.asarray(pc.list_parent_indices(column)) * length + np.asarray(spans.field("start"))
    wanted_R = np.asarray(pc.is_in(spans.field("role"), pa.array(list(roles))))
    lengths_R = np.asarray(spans.field("length"))
    opened = np.bincount(first_R[wanted_R], minlength=table.num_rows * length + 1)
    closed = np.bincount((first_R + lengths_R)[wanted_R], minlength=table.num_rows * length + 1)
    inside: BoolArray = np.cumsum(opened - closed)[:-1] > 0
    return inside.reshape(-1, length)
