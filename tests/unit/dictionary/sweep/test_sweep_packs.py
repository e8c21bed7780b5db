"""Which fits share a read, and how many of them."""

import pytest

from fixtures.planted_fits import planted_fit
from thresher.contracts.errors import SpecError
from thresher.dictionary.prepare import CheckedFit, check_fit
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.sweep.packs import GIB, pack, training_bytes
from thresher.storage import ObjectStore


def fits(store: ObjectStore, *changes: dict[str, object]) -> list[CheckedFit]:
    spec = planted_fit(store).model_dump()
    found = []
    for change in changes:
        sections = {
            name: {**spec[name], **value} if isinstance(value, dict) else value
            for name, value in change.items()
        }
        found.append(check_fit(store, FitSpec.parse({**spec, **sections})))
    return found


def ks(packs: list[list[CheckedFit]]) -> list[list[int]]:
    return [[fit.spec.architecture.k for fit in group] for group in packs]


def test_fits_of_the_same_rows_share_a_read(store: ObjectStore) -> None:
    checked = fits(
        store,
        {"architecture": {"k": 1}},
        {"architecture": {"k": 2}, "training": {"seed": 1}},
        {"architecture": {"k": 3}, "training": {"learning_rate": 1e-3, "num_steps": 7}},
        {"architecture": {"k": 4}, "training": {"batch_rows": 64}},
        {"architecture": {"k": 5}, "num_workers": 2},
        {"architecture": {"k": 6, "num_latents": 80}, "checkpoint_every_steps": 3},
    )
    assert ks(pack(checked, 8)) == [[1, 3, 6], [2], [4], [5]]


def test_a_read_serves_as_many_as_memory_holds(store: ObjectStore) -> None:
    checked = fits(store, *({"architecture": {"k": k, "num_latents": 1 << 17}} for k in range(1, 6)))
    needed = training_bytes(checked[0])
    assert needed == 4 * 4 * (1 << 17) * (16 + 16)
    shared = (256 << 20) + 6 * 128 * 4 * 32
    assert ks(pack(checked, (2 * needed + shared) / GIB)) == [[1, 2], [3, 4], [5]]
    assert ks(pack(checked, (5 * needed + shared) / GIB)) == [[1, 2, 3, 4, 5]]
    with pytest.raises(SpecError, match=r"at least 0\.31"):
        pack(checked, (needed + shared - 1000) / GIB)
