"""Both model runners, by the attributes that vLLM 0.32's own sources give them."""

from types import SimpleNamespace

import numpy as np

from thresher.harvest.runner_adapter import RequestRows, step_rows

# Two requests in prefill, one of them a second chunk; arrays are longer than the batch, as vLLM's are.
REQUESTS = ["sequence-7", "sequence-3-a1b2"]
OFFSETS = np.array([0, 10, 16, 16, 0], dtype=np.int32)
STARTS = np.array([0, 32, 99], dtype=np.int32)
EXPECTED = [RequestRows("sequence-7", 0, 10, 0), RequestRows("sequence-3-a1b2", 10, 6, 32)]


def _v1():
    return SimpleNamespace(
        execute_model_state=None,
        input_batch=SimpleNamespace(num_reqs=2, req_ids=[*REQUESTS], num_computed_tokens_cpu=STARTS),
        query_start_loc=SimpleNamespace(np=OFFSETS.copy()),
    )


def _v2():
    batch = SimpleNamespace(
        num_reqs=2, req_ids=REQUESTS, query_start_loc_np=OFFSETS, num_computed_tokens_np=STARTS
    )
    return SimpleNamespace(execute_model_state=SimpleNamespace(input_batch=batch))


def test_both_runners_give_the_same_rows():
    assert step_rows(_v1()) == step_rows(_v2()) == EXPECTED


def test_rows_are_copies_since_the_runner_reuses_its_arrays():
    runner = _v1()
    rows = step_rows(runner)
    runner.query_start_loc.np[:] = 0
    runner.input_batch.req_ids.clear()
    assert rows == EXPECTED


def test_requests_without_tokens_in_the_step_have_no_rows():
    runner = _v1()
    runner.query_start_loc.np = np.array([0, 10, 10], dtype=np.int32)
    assert [item.request_id for item in step_rows(runner)] == ["sequence-7"]
