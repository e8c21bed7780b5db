"""A vLLM engine that prefills sequences and writes shards; the only file that builds one."""

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from thresher.activations.sequences import open_sequences
from thresher.contracts.manifests import EngineProvenance, ShardCommit
from thresher.harvest.commit import commit_shard
from thresher.harvest.plan import ShardPart, ShardPlan
from thresher.harvest.selected_rows import request_id, sequence_of
from thresher.harvest.spec import HarvestSpec
from thresher.harvest.stall_clock import StallClock
from thresher.harvest.tap_choice import reads_auxiliary_outputs
from thresher.harvest.tap_worker import SPEC_KEY
from thresher.runtime.model_identity import identify_model
from thresher.storage import open_store

CPU_WORKER = "thresher.harvest.cpu_worker.HarvestCPUWorker"
GPU_WORKER = "thresher.harvest.gpu_worker.HarvestGPUWorker"
CENTRE_SEQUENCES = 16
POLL_INTERVAL_S = 0.02
ResultT = TypeVar("ResultT")


class HarvestEngine:
    """Holds one engine and runs groups of shards through it.

    `harvest` may be called from several threads: sequences of the later call fill up the batches of the earlier one,
    and run while its last rows are written. The engine itself lives on a thread of its own, since vLLM binds its
    cores to the thread that made it.

    Prefix caching is off: cached tokens never run, so their rows would be missing. One token is sampled for each
    sequence, from no logits, since vLLM ends a request no sooner.
    """

    def __init__(self, spec: HarvestSpec, sequence_length: int) -> None:
        _prepare_environment(spec)
        self._spec, self._store = spec, open_store(spec.root)
        self._sequences = open_sequences(self._store, spec.corpus)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._running: set[int] = set()
        self._parts: dict[int, list[ShardPart]] = {}
        self._waits_s: list[float] = []
        self._stalls = StallClock()
        self._on_thread(self._start, sequence_length)

    def _start(self, sequence_length: int) -> None:
        from vllm import LLMEngine, SamplingParams, TokensPrompt

        self._engine: Any = LLMEngine.from_engine_args(_engine_args(self._spec, sequence_length))
        self._prompt = TokensPrompt
        self._sampling = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False)
        self.provenance = EngineProvenance.model_validate_json(self._call("thresher_install")[0])
        if self._spec.encoding == "int8" and self._spec.centre and self._spec.dictionary is None:
            self._measure_centre()

    def _measure_centre(self) -> None:
        first = min(item.start for item in self._sequences.manifest.splits if item.split in self._spec.splits)
        self._call("thresher_begin_sample")
        self._add(first, min(first + CENTRE_SEQUENCES, self._sequences.manifest.num_sequences))
        while self._running:
            self._step()
        self._call("thresher_end_sample")

    @property
    def wait_s(self) -> float:
        """Time that the engine has stood still because the store was slower; of several ranks, the longest.

        Either the ring was full, or all that was to be run had run and a shard of it was not yet committed.
        """
        return self._stalls.stalled_s + max(self._waits_s, default=0.0)

    def harvest(self, plans: Sequence[ShardPlan]) -> list[ShardCommit]:
        """Run the sequences of some shards and commit each.

        Raises:
            CoverageError: a row is missing, doubled or not finite. Its shard is not committed.
            StoreError: the store refused what was written.
        """
        for plan in plans:
            self._on_thread(self._call, "thresher_open_shard", plan.model_dump_json())
        self.prefill(plans)
        for plan in plans:
            self._on_thread(self._call, "thresher_close_shard", plan.model_dump_json())
        self._on_thread(self._stalls.begin_commit)
        try:
            return [self._commit(plan) for plan in plans]
        finally:
            self._on_thread(self._stalls.end_commit)

    def prefill(self, plans: Sequence[ShardPlan]) -> None:
        """Run the sequences of some shards through the model. Rows are kept only of open shards."""
        own: set[int] = set()
        for plan in plans:
            stop = plan.first_sequence + plan.num_sequences
            own.update(range(plan.first_sequence, stop))
            self._on_thread(self._add, plan.first_sequence, stop)
        # A call a step, so that those of other threads come in between.
        while own & self._running:
            self._on_thread(self._step)

    def _add(self, first: int, stop: int) -> None:
        token_ids = self._sequences.token_ids(first, stop)
        for sequence, tokens in zip(range(first, stop), token_ids.tolist(), strict=True):
            self._engine.add_request(
                request_id(sequence), self._prompt(prompt_token_ids=tokens), self._sampling
            )
        self._running.update(range(first, stop))
        self._stalls.set_running(True)

    def _step(self) -> None:
        if not self._running:
            return
        for output in self._engine.step():
            if output.finished:
                self._running.discard(sequence_of(output.request_id))
        self._stalls.set_running(bool(self._running))

    def _commit(self, plan: ShardPlan) -> ShardCommit:
        stages = self._spec.engine.pipeline_parallel
        while len(self._parts.get(plan.index, ())) < stages:
            self._on_thread(self._collect)
            time.sleep(POLL_INTERVAL_S)
        return commit_shard(self._store, plan, self._parts.pop(plan.index), self._spec.sites, self.provenance)

    def _collect(self) -> None:
        answers = [json.loads(answer) for answer in self._call("thresher_collect")]
        self._waits_s = [answer["wait_s"] for answer in answers]
        for part in (ShardPart.model_validate(item) for answer in answers for item in answer["parts"]):
            self._parts.setdefault(part.index, []).append(part)

    def _call(self, method: str, *arguments: str) -> list[Any]:
        """The answers of all ranks."""
        return list(self._engine.collective_rpc(method, args=arguments))

    def _on_thread(self, work: Callable[..., ResultT], *arguments: Any) -> ResultT:
        return self._thread.submit(work, *arguments).result()

    def close(self) -> None:
        """Give up what is open; let go of the engine's memory and threads."""
        self._on_thread(self._call, "thresher_abort")
        self._on_thread(self._engine.engine_core.shutdown)
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _engine_args(spec: HarvestSpec, sequence_length: int) -> Any:
    from vllm import EngineArgs
    from vllm.platforms import current_platform

    engine, is_cpu = spec.engine, current_platform.is_cpu()
    return EngineArgs(
        model=spec.model,
        dtype=spec.dtype,
        skip_tokenizer_init=True,
        enforce_eager=_needs_eager(spec, is_cpu=is_cpu),
        enable_prefix_caching=False,
        max_model_len=sequence_length + 1,
        max_num_batched_tokens=max(engine.max_batch_tokens, engine.max_batch_sequences),
        max_num_seqs=engine.max_batch_sequences,
        enable_chunked_prefill=True,
        kv_cache_memory_bytes=int(engine.kv_cache_gib * (1 << 30)) if is_cpu else None,
        tensor_parallel_size=engine.tensor_parallel,
        pipeline_parallel_size=engine.pipeline_parallel,
        distributed_executor_backend=_executor(spec, is_cpu=is_cpu),
        worker_cls=CPU_WORKER if is_cpu else GPU_WORKER,
        additional_config={SPEC_KEY: spec.model_dump_json()},
        ir_op_priority=_norm_priority() if is_cpu else {},
        disable_log_stats=True,
        seed=0,
    )


def _norm_priority() -> dict[str, list[str]]:
    from thresher.harvest.cpu_kernels import NORM_PRIORITY  # registers them in this process

    return NORM_PRIORITY


def _executor(spec: HarvestSpec, *, is_cpu: bool) -> str | None:
    """Who starts the ranks: Ray, in the bundles that the actor's placement group holds for them.

    vLLM's CPU build cannot, and starts processes on this machine.
    """
    if spec.engine.num_ranks == 1:
        return None
    return "mp" if is_cpu else "ray"


def _needs_eager(spec: HarvestSpec, *, is_cpu: bool) -> bool:
    """Hooks do not fire inside CUDA graphs; on CPU, which has none, compiling takes minutes."""
    architecture = identify_model(spec.model).architecture
    return is_cpu or not reads_auxiliary_outputs(spec, architecture, is_cpu=is_cpu)


def _prepare_environment(spec: HarvestSpec) -> None:
    """vLLM reads these when it is imported or started, and takes them from nowhere else."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    num_ranks = spec.engine.num_ranks
    if num_ranks > 1:
        # Without it vLLM on CPU wants a NUMA node a rank; on GPU it is not read.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", _cores_by_rank(num_ranks))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _cores_by_rank(num_ranks: int) -> str:
    """This process's cores dealt to the ranks, as in 0,1|2,3."""
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // num_ranks)
    parts = [cores[rank * share : (rank + 1) * share] or cores[-1:] for rank in range(num_ranks)]
    return "|".join(",".join(str(core) for core in part) for part in parts)
