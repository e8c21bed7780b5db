"""vLLM's hidden-states connector without what only CUDA has: pinned memory, streams, events."""

import fcntl
import os
from functools import partial

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.example_hidden_states_connector import (
    ExampleHiddenStatesConnector,
    PendingSave,
    extract_from_kv_cache,
)


class Done:
    """An event that has happened."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


class CPUHiddenStatesConnector(ExampleHiddenStatesConnector):
    """As its base, with the copy made at once."""

    def _submit_async_write(self, pending: PendingSave) -> None:
        offsets = torch.arange(self._block_size)
        blocks = torch.tensor(pending.block_ids)[:, None] * self._block_size
        num_tokens = pending.token_ids.shape[0]
        hidden = extract_from_kv_cache(self._kv_cache, (blocks + offsets).flatten(), num_tokens).clone()
        os.makedirs(os.path.dirname(pending.filename), exist_ok=True)  # noqa: PTH103, PTH120
        lock = self._lock_fds.pop(pending.req_id, None)
        if lock is None and self.use_lock:
            lock = os.open(pending.filename + ".lock", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX)
        tensors = {"hidden_states": hidden, "token_ids": pending.token_ids.clone()}
        future = self._executor.submit(self._write_tensors, tensors, Done(), pending.filename, lock)
        self._req_copy_events[pending.req_id] = Done()
        self._req_futures[pending.req_id] = future
        future.add_done_callback(partial(self._on_write_done, pending.req_id))
