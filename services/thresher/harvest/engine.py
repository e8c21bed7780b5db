"""A vLLM engine that prefills sequences and writes shards; the only file that builds one."""

import os
from types import TracebackType
from typing import Any, Self

from thresher.activations.sequences import open_sequences
from thresher.contracts.manifests import EngineProvenance, ShardCommit
from thresher.harvest.plan import ShardPlan
from thresher.harvest.spec import HarvestSpec
from thresher.harvest.tap_worker import request_id
from thresher.storage import open_store

CPU_WORKER = "thresher.harvest.cpu_worker.HarvestCPUWorker"
GPU_WORKER = "thresher.harvest.gpu_worker.HarvestGPUWorker"


class HarvestEngine:
    """Holds one engine and runs shard after shard through it.

    Prefix caching is off: cached tokens never run, so their rows would be missing. One token is sampled for each
    sequence and thrown away, since vLLM ends a request no sooner.
    """

    def __init__(self, spec: HarvestSpec, sequence_length: int) -> None:
        _prepare_environment(spec)
        from vllm import EngineArgs, LLMEngine, SamplingParams, TokensPrompt
        from vllm.platforms import current_platform

        self._sequences = open_sequences(open_store(spec.root), spec.corpus)
        self._engine: Any = LLMEngine.from_engine_args(
            EngineArgs(
                model=spec.model,
                dtype=spec.dtype,
                skip_tokenizer_init=True,
                enforce_eager=True,
                enable_prefix_caching=False,
                max_model_len=sequence_length + 1,
                max_num_batched_tokens=max(spec.engine.max_batch_tokens, spec.engine.max_batch_sequences),
                max_num_seqs=spec.engine.max_batch_sequences,
                enable_chunked_prefill=True,
                worker_cls=CPU_WORKER if current_platform.is_cpu() else GPU_WORKER,
                disable_log_stats=True,
                seed=0,
            )
        )
        self._prompt = TokensPrompt
        self._sampling = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False)
        self.provenance = EngineProvenance.model_validate_json(
            self._call("thresher_install", spec.model_dump_json())
        )

    def _call(self, method: str, *arguments: str) -> Any:
        results = self._engine.collective_rpc(method, args=arguments)
        return results[0]

    def harvest(self, plan: ShardPlan) -> ShardCommit:
        """Run the sequences of one shard and commit it.

        Raises:
            CoverageError: a row is missing, doubled or not finite. The shard is not committed.
        """
        self._call("thresher_open_shard", plan.model_dump_json())
        try:
            self.prefill(plan)
            return ShardCommit.model_validate_json(self._call("thresher_commit_shard"))
        finally:
            self._call("thresher_abort_shard")

    def prefill(self, plan: ShardPlan) -> None:
        """Run the sequences of a shard through the model. Rows are kept only while a shard is open."""
        stop = plan.first_sequence + plan.num_sequences
        token_ids = self._sequences.token_ids(plan.first_sequence, stop)
        for sequence, tokens in zip(range(plan.first_sequence, stop), token_ids.tolist(), strict=True):
            self._engine.add_request(
                request_id(sequence), self._prompt(prompt_token_ids=tokens), self._sampling
            )
        while self._engine.has_unfinished_requests():
            self._engine.step()

    def close(self) -> None:
        """Let go of the engine's memory and threads."""
        self._engine.engine_core.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _prepare_environment(spec: HarvestSpec) -> None:
    """vLLM reads these when it is imported or started, and takes them from nowhere else."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, round(spec.engine.kv_cache_gib))))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
