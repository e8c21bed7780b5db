from concurrent.futures import ThreadPoolExecutor

import pytest

from thresher.contracts.errors import AlreadyExistsError, SpecError
from thresher.storage import ObjectStore
from thresher.storage.versions import claim_version, claimed_versions


def claim(store: ObjectStore, identity: str, requested: str | None = None, name: str = "d") -> str:
    return claim_version(store, lambda version: f"things/{name}/{version}", "claim.json", identity, requested)


def test_versions_are_numbered_by_identity_and_name(store: ObjectStore) -> None:
    assert [claim(store, identity) for identity in ("a", "b", "a", "b", "c")] == ["1", "2", "1", "2", "3"]
    assert claim(store, "z", name="other") == "1"


def test_a_requested_version_is_found_again_without_asking(store: ObjectStore) -> None:
    assert claim(store, "a", "beta") == "beta"
    assert claim(store, "a") == "beta"
    assert claim(store, "a", "beta") == "beta"
    assert claim(store, "b") == "1"


def test_a_taken_version_names_the_next_free_one(store: ObjectStore) -> None:
    claim(store, "a", "7")
    with pytest.raises(AlreadyExistsError, match="version 8, which is free"):
        claim(store, "b", "7")
    assert claim(store, "b", "8") == "8"


def test_a_version_that_steps_out_of_its_name_is_refused(store: ObjectStore) -> None:
    with pytest.raises(SpecError, match="version"):
        claim(store, "a", "../other/1")


def test_racing_runs_get_a_version_each(store: ObjectStore) -> None:
    identities = [f"run-{index % 8}" for index in range(32)]
    with ThreadPoolExecutor(16) as pool:
        versions = list(pool.map(lambda identity: claim(store, identity), identities))
    held = claimed_versions(store, lambda version: f"things/d/{version}", "claim.json")
    assert {held[version] for version in versions} == set(identities)
    assert all(held[version] == identity for version, identity in zip(versions, identities, strict=True))
