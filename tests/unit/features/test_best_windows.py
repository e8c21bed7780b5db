"""The best windows of a stream are those of sorting it whole."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.features.best_windows import at_random, best_of, none_kept, rank_in_group, strongest_first
from thresher.features.loops import keep_window
from thresher.features.windows import WINDOW_PEAK, WindowPeaks

NUM_LATENTS, LIMIT = 3, 4


def random_peaks(rng: np.random.Generator, num_windows: int) -> WindowPeaks:
    """Each (latent, window) once; peaks tie often, documents repeat often."""
    addresses = rng.permutation(NUM_LATENTS * 40)[:num_windows]
    peaks = np.zeros(len(addresses), WINDOW_PEAK)
    peaks["latent"], peaks["sequence"] = np.divmod(addresses, 40)
    peaks["document"] = rng.integers(0, 8, len(addresses))
    peaks["peak"] = rng.integers(1, 5, len(addresses))
    return peaks


def best_by_sorting(peaks: WindowPeaks, order: np.ndarray) -> list[tuple]:
    kept: list[tuple] = []
    for latent in range(NUM_LATENTS):
        documents: set[int] = set()
        for index in sorted(np.flatnonzero(peaks["latent"] == latent), key=lambda index: order[index]):
            if len(documents) < LIMIT and peaks["document"][index] not in documents:
                documents.add(peaks["document"][index])
                kept.append(peaks[index].item())
    return kept


@settings(deadline=None)  # the first call compiles
@given(seed=st.integers(0, 2**32 - 1), num_windows=st.integers(0, 100))
def test_equal_to_sorting_whole_in_any_order(seed: int, num_windows: int) -> None:
    rng = np.random.default_rng(seed)
    peaks = random_peaks(rng, num_windows)
    order = strongest_first(peaks["latent"], peaks, seed)
    kept = none_kept(NUM_LATENTS, LIMIT)
    for index in rng.permutation(len(peaks)):
        latent, sequence, window, position, document, peak = (
            peaks[index][name] for name in WINDOW_PEAK.names
        )
        keep_window(kept, latent, order[index], document, sequence, window, position, peak)
    found, orders = best_of(kept)
    assert [peak.item() for peak in found] == best_by_sorting(peaks, order)
    assert orders.tolist() == strongest_first(found["latent"], found, seed).tolist()


def test_strongest_first_orders_by_peak_then_by_the_seed() -> None:
    peaks = random_peaks(np.random.default_rng(0), 60)
    order = strongest_first(peaks["latent"], peaks, 5)
    assert len(set(order.tolist())) == len(order)
    assert (np.diff(peaks["peak"][np.argsort(order)]) <= 0).all()
    ties = peaks["peak"] == 1
    by_seed = [np.argsort(strongest_first(peaks["latent"], peaks, seed)[ties]).tolist() for seed in (5, 6)]
    assert by_seed[0] != by_seed[1]


def test_a_random_order_samples_every_window_equally_often() -> None:
    peaks = np.zeros(10, WINDOW_PEAK)
    peaks["window"] = np.arange(10)
    lowest = [int(np.argmin(at_random(peaks["latent"], peaks, seed))) for seed in range(2000)]
    counts = np.bincount(lowest, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 34  # 9 degrees of freedom: exceeded with probability 1e-4


def test_rank_in_group() -> None:
    assert rank_in_group(np.array([0, 0, 0, 2, 3, 3])).tolist() == [0, 1, 2, 0, 0, 1]
    assert rank_in_group(np.zeros(0, np.int32)).tolist() == []
