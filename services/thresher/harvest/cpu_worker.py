"""The worker class that vLLM loads by name on CPU."""

from vllm.v1.worker.cpu_worker import CPUWorker

from thresher.harvest import cpu_kernels  # noqa: F401  # registers them in the worker's process
from thresher.harvest.tap_worker import TapWorker


class HarvestCPUWorker(TapWorker, CPUWorker):
    """vLLM's CPU worker with taps."""
