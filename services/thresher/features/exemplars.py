"""The second pass over a harvest reads what the candidates hold; then each feature's exemplars are chosen.

Shapes: E candidates, C tokens of a window, F latents, M neighbours of each.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesReader
from thresher.contracts.errors import IntegrityError
from thresher.contracts.exemplars import EXEMPLAR_KINDS, EXEMPLAR_SPLITS, HARD_NEGATIVE_KINDS, ExemplarKind
from thresher.features.best_windows import rank_in_group, strongest_first
from thresher.features.candidates import (
    CANDIDATE,
    CandidateRows,
    negative_candidates,
    neighbour_candidates,
    quantile_candidates,
    random_candidates,
    text_candidates,
    top_candidates,
)
from thresher.features.materialise import ShownWindows, WindowActivations
from thresher.features.near_duplicates import Candidates, RunSets, choose
from thresher.features.pool import PoolActivity
from thresher.features.spec import FeatureOptions
from thresher.features.survey import Survey, read_ahead
from thresher.features.text_nearness import TextNearness
from thresher.features.windows import WindowGrid
from thresher.runtime.progress import Meter

Neighbours = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Chosen:
    """Exemplars of a range of features, sorted by (feature, split, kind, rank)."""

    rows: CandidateRows
    """Their `rank` is that among the chosen: the strongest first, or where the feature is silent the best."""
    activations_EC: npt.NDArray[np.float32]


class ExemplarChooser:
    """Holds the candidates, reads what they show, and chooses a range of features at a time."""

    def __init__(
        self, found: Survey, decoder_near_FM: Neighbours, spec: FeatureOptions, grid: WindowGrid
    ) -> None:
        """`decoder_near_FM`: the latents with the nearest decoder rows, -1 where there are no more."""
        self._found, self._spec = found, spec
        firing, asked = list[CandidateRows](), list[CandidateRows]()
        for split, kept in found.splits.items():
            top = top_candidates(kept.top, split)
            at_random = random_candidates(kept.sample, spec, split)
            firing += [top, quantile_candidates(kept.sample, spec, split), at_random]
            if spec.hard_negatives == 0:
                continue
            asked.append(neighbour_candidates(found.cofiring_FM, at_random, "cofiring", grid))
            asked.append(neighbour_candidates(decoder_near_FM, top, "decoder_near", grid))
        self.firing, self._asked = _by_feature(firing), _by_feature(asked)
        self._pools = {split: item.pool for split, item in found.splits.items()}
        self.windows = ShownWindows([self.firing, *self._pools.values()], grid)
        self._activations = WindowActivations(self.firing, grid)
        self._silence = WindowActivations(self._asked, grid)
        num_latents = found.statistics.num_latents
        self._activity = {split: PoolActivity(pool, num_latents, grid) for split, pool in self._pools.items()}

    def read(self, reader: CodesReader, meter: Meter) -> None:
        """Second pass.

        Raises:
            IntegrityError: a document lies in two splits.
        """
        for shard in read_ahead(reader):
            self.windows.add(shard)
            self._activations.add(shard)
            self._silence.add(shard)
            for activity in self._activity.values():
                activity.add(shard)
            meter.advance(shard.num_rows)
        for activity in self._activity.values():
            activity.finish()
        self._asked = self._asked[self._silence.is_silent()]
        self._check_disjoint()
        self._runs = RunSets(self.windows.token_ids_UC)
        self._texts = {
            split: TextNearness(self.windows.token_ids(pool)) for split, pool in self._pools.items()
        }

    def choose(self, features: range) -> Chosen:
        """Exemplars of the features; none of those that are dead."""
        start, stop = np.searchsorted(self.firing["feature"], [features.start, features.stop])
        low, high = np.searchsorted(self._asked["feature"], [features.start, features.stop])
        rows = np.concatenate([self.firing[start:stop], self._asked[low:high], *self._silent(features)])
        is_alive = self._found.statistics.num_active[rows["feature"]] > 0
        order = np.lexsort([rows[name] for name in ("rank", "quantile", "kind", "split", "feature")])
        order = order[is_alive[order]]
        taken = order[self._taken(rows[order], features)]
        chosen = rows[taken]
        ranked = self._ranked(chosen)
        activations_EC = self._activations.dense(int(start), int(stop))
        silent_EC = np.zeros((1, activations_EC.shape[1]), np.float32)
        place = np.minimum(taken[ranked], stop - start)  # whatever is behind the firing ones is silent
        return Chosen(_numbered(chosen[ranked]), np.concatenate([activations_EC, silent_EC])[place])

    def _silent(self, features: range) -> list[CandidateRows]:
        found = []
        for split, pool in self._pools.items():
            silent_PB = self._activity[split].silent(features)
            found.append(negative_candidates(pool, silent_PB, features, self._spec, split))
            if self._spec.hard_negatives == 0:
                continue
            top = self._top_of(features, EXEMPLAR_SPLITS.index(split))
            cosines_BP = self._texts[split].cosines(
                self.windows.token_ids(top), top["feature"].astype(np.int64) - features.start, len(features)
            )
            found.append(text_candidates(pool, cosines_BP, silent_PB, features, self._spec, split))
        return found

    def _top_of(self, features: range, split: int) -> CandidateRows:
        start, stop = np.searchsorted(self.firing["feature"], [features.start, features.stop])
        firing = self.firing[start:stop]
        top: CandidateRows = firing[
            (firing["kind"] == EXEMPLAR_KINDS.index("top")) & (firing["split"] == split)
        ]
        return top

    def _taken(self, rows: CandidateRows, features: range) -> npt.NDArray[np.bool_]:
        spec = self._spec
        bounds = np.arange(features.start, features.stop + 1)
        candidates = Candidates(
            offsets_F=np.searchsorted(rows["feature"], bounds),
            split_E=np.ascontiguousarray(rows["split"]),
            kind_E=np.ascontiguousarray(rows["kind"]),
            quantile_E=np.ascontiguousarray(rows["quantile"]),
            document_E=self.windows.documents(rows),
            window_E=self.windows.index(rows),
        )
        quotas: dict[ExemplarKind, int] = {
            "top": spec.top_exemplars,
            "quantile": spec.quantile_exemplars // spec.quantiles,
            "random": spec.random_exemplars,
            "negative": spec.negatives,
            **dict.fromkeys(HARD_NEGATIVE_KINDS, spec.hard_negatives),
        }
        quota_K = np.array([quotas[kind] for kind in EXEMPLAR_KINDS])
        return choose(candidates, self._runs, quota_K, spec.quantiles, spec.near_duplicate)

    def _ranked(self, rows: CandidateRows) -> npt.NDArray[np.int64]:
        """By (feature, split, kind), the strongest first, or where the feature is silent as they were chosen."""
        strength = strongest_first(rows["feature"], rows, self._spec.seed)
        best_first = np.where(rows["peak"] > 0, strength, rows["rank"].astype(np.uint64))
        order: npt.NDArray[np.int64] = np.lexsort((best_first, rows["kind"], rows["split"], rows["feature"]))
        return order

    def _check_disjoint(self) -> None:
        seen: set[str] = set()
        for index, split in enumerate(EXEMPLAR_SPLITS):
            firing = self.firing[self.firing["split"] == index]
            documents = self.windows.all_doc_ids(firing) | self.windows.all_doc_ids(self._pools[split])
            shared = seen & documents
            if shared:
                raise IntegrityError(
                    f"Document {min(shared)!r} lies in two splits, as do {len(shared) - 1} others. "
                    "Labels would be scored on what made them. Build the corpus and the harvest again."
                )
            seen |= documents


def _by_feature(rows: list[CandidateRows]) -> CandidateRows:
    joined = np.concatenate([np.zeros(0, CANDIDATE), *rows])
    sorted_rows: CandidateRows = joined[np.argsort(joined["feature"], kind="stable")]
    return sorted_rows


def _numbered(rows: CandidateRows) -> CandidateRows:
    """With ranks from 0 within each (feature, split, kind)."""
    num_groups = len(EXEMPLAR_SPLITS) * len(EXEMPLAR_KINDS)
    within = rows["split"] * len(EXEMPLAR_KINDS) + rows["kind"]
    rows["rank"] = rank_in_group(rows["feature"].astype(np.int64) * num_groups + within)
    return rows
