"""How work is dealt, lost and found again: real workers, in this process instead of in Ray (see tests/integration)."""

from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import RayActorError

from fixtures.exemplars import write_features
from fixtures.label_runs import read_rows
from fixtures.scripted_subject import publish_rules
from thresher.contracts.errors import ClusterError
from thresher.contracts.manifests import LabelManifest
from thresher.labeling.fan_out import driver
from thresher.labeling.fan_out.worker import LabelWorker
from thresher.labeling.run import label
from thresher.storage import ObjectStore, open_store

pytestmark = pytest.mark.slow


class Handle:
    """As Ray's handle of an actor; `is_lost` says of each call, once it is done, whether its answer is lost."""

    def __init__(self, fan_out: driver.FanOut, is_lost: Callable[[str], bool]) -> None:
        spec_json = fan_out._run.spec.model_dump_json()
        self._worker = LabelWorker(spec_json, fan_out._roots, None)
        self._is_lost, self._dead = is_lost, False

    def __getattr__(self, name: str) -> "Handle._Method":
        return Handle._Method(self, name)

    class _Method:
        def __init__(self, handle: "Handle", name: str) -> None:
            self._handle, self._name = handle, name

        async def remote(self, *arguments: Any) -> Any:
            handle = self._handle
            if not handle._dead:
                result = await getattr(handle._worker, self._name)(*arguments)
                handle._dead = handle._is_lost(self._name)
            if handle._dead:
                raise RayActorError
            return result


@pytest.fixture
def in_process(monkeypatch) -> Callable[[Callable[[str], bool]], None]:
    """Makes FanOut start handles of this process."""

    def use(is_lost: Callable[[str], bool]) -> None:
        monkeypatch.setattr(driver, "connect", lambda: None)
        monkeypatch.setattr(driver.ray, "kill", lambda actor: None)
        monkeypatch.setattr(driver.FanOut, "_start", lambda fan_out: Handle(fan_out, is_lost))

    return use


def tables(store: ObjectStore, manifest: LabelManifest) -> list[dict]:
    rows = read_rows(store, [*manifest.labels, *manifest.scores])
    return [{name: value for name, value in row.items() if name != "created_at"} for row in rows]


@pytest.fixture
def alone(tmp_path, label_spec, scripted_llm) -> tuple[ObjectStore, LabelManifest]:
    """The run of one process, in a store of its own."""
    store = open_store(f"file://{tmp_path}/alone")
    write_features(store)
    made = store, label(label_spec(root=store.url))
    scripted_llm.requests.clear()
    return made


def num_paid(scripted_llm) -> int:
    return len(scripted_llm.requests)


def check_same(alone, store: ObjectStore, manifest: LabelManifest) -> None:
    assert manifest.run_id == alone[1].run_id, "the number of workers makes no other run"
    assert tables(store, manifest) == tables(*alone)
    assert (manifest.mean_scores, manifest.num_calls) == (alone[1].mean_scores, alone[1].num_calls)


def test_rows_are_those_of_one_process(planted_store, alone, label_spec, scripted_llm, in_process) -> None:
    in_process(lambda method: False)
    check_same(alone, planted_store, label(label_spec(workers=2)))
    assert num_paid(scripted_llm) == alone[1].num_calls
    assert scripted_llm.probes


@pytest.mark.parametrize("method", ["process", "explain", "score"])
def test_what_a_lost_worker_had_stored_is_not_paid_for_again(
    planted_store, alone, label_spec, scripted_llm, in_process, method
) -> None:
    lost: list[str] = []

    def is_lost(called: str) -> bool:
        if called == method and len(lost) < 2:
            lost.append(called)
            return True
        return False

    in_process(is_lost)
    check_same(alone, planted_store, label(label_spec(workers=2)))
    assert lost == [method, method]
    assert num_paid(scripted_llm) == alone[1].num_calls


def test_workers_that_are_lost_again_and_again_end_the_run(
    planted_store, label_spec, scripted_llm, in_process
) -> None:
    in_process(lambda method: method == "explain")
    with pytest.raises(ClusterError, match="lost 7 times"):
        label(label_spec(workers=2))


def test_workers_have_a_subject_each_and_texts_of_a_label_are_written_once(
    planted_store, tmp_path, label_spec, scripted_llm, scripted_subject, in_process
) -> None:
    alone = open_store(f"file://{tmp_path}/alone")
    write_features(alone)
    own = {"model": str(scripted_subject)}
    sections = {
        "generation": {**own, "num_requests": 2, "texts_per_request": 2},
        "steering": {**own, "num_prompts": 2, "max_tokens": 3},
        "simulation": None,
        "features": {"count": None},
    }
    for store in (alone, planted_store):
        publish_rules(store, scripted_subject)
    made = label(label_spec(root=alone.url, **sections))
    scripted_llm.requests.clear()
    in_process(lambda method: False)
    check_same((alone, made), planted_store, label(label_spec(workers=2, **sections)))
    written = [str(body) for body in scripted_llm.requests if "short texts" in str(body)]
    assert len(written) == len(set(written)) == 4 * 2 * 2
