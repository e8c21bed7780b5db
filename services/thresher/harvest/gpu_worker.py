"""The worker class that vLLM loads by name on GPU."""

from vllm.v1.worker.gpu_worker import Worker

from thresher.harvest.tap_worker import TapWorker


class HarvestGPUWorker(TapWorker, Worker):
    """vLLM's GPU worker with taps. Not run on a GPU yet: see docs/gpu.md."""
