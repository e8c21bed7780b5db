"""The one place that knows vLLM's model runners: which rows of a step belong to which request.

Read once a step, after `execute_model` and before sampling, from the runner's own order: this survives
chunked prefill, preemption and reordering, where counting arrivals does not.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RequestRows:
    """Rows [first_row, first_row + count) of the step are positions [start, start + count) of the request."""

    request_id: str
    first_row: int
    count: int
    start: int


def step_rows(runner: Any) -> list[RequestRows]:
    """Row ranges of the step that the runner has just executed. Values are copied: the runner reuses its arrays."""
    state = getattr(runner, "execute_model_state", None)
    batch = getattr(state, "input_batch", None)
    return _rows_v2(batch) if batch is not None and hasattr(batch, "query_start_loc_np") else _rows_v1(runner)


def runner_version(runner: Any) -> str:
    """V1 or V2, for provenance. The V2 runner lives in vllm.v1.worker.gpu."""
    return "V2" if type(runner).__module__.startswith("vllm.v1.worker.gpu.") else "V1"


def _rows_v1(runner: Any) -> list[RequestRows]:
    batch = runner.input_batch
    count = batch.num_reqs
    offsets = runner.query_start_loc.np[: count + 1].tolist()
    starts = batch.num_computed_tokens_cpu[:count].tolist()
    return _ranges(list(batch.req_ids[:count]), offsets, starts)


def _rows_v2(batch: Any) -> list[RequestRows]:
    count = batch.num_reqs
    offsets = batch.query_start_loc_np[: count + 1].tolist()
    starts = batch.num_computed_tokens_np[:count].tolist()
    return _ranges(list(batch.req_ids[:count]), offsets, starts)


def _ranges(request_ids: list[str], offsets: list[int], starts: list[int]) -> list[RequestRows]:
    assert len(request_ids) == len(starts) == len(offsets) - 1, "the runner's batch is inconsistent"
    return [
        RequestRows(request_id, first, stop - first, start)
        for request_id, first, stop, start in zip(request_ids, offsets[:-1], offsets[1:], starts, strict=True)
        if stop > first
    ]
