"""What runs inside vLLM's worker: taps, and the shard that they write. Rows never cross a process border."""

from typing import TYPE_CHECKING, Any

import torch

from thresher.activations.sequences import open_sequences
from thresher.contracts.manifests import EngineProvenance
from thresher.contracts.sites import Site
from thresher.harvest.plan import ShardPlan
from thresher.harvest.row_encoders import DenseRowEncoder, RowEncoder, SparseRowEncoder
from thresher.harvest.runner_adapter import runner_version, step_rows
from thresher.harvest.shard_writer import ShardWriter
from thresher.harvest.site_map import family_of
from thresher.harvest.spec import HarvestSpec
from thresher.harvest.taps import Taps
from thresher.latents.weights import load_encoder
from thresher.storage import open_store

if TYPE_CHECKING:
    from vllm.v1.worker.gpu_worker import Worker as WorkerBase
else:
    WorkerBase = object

REQUEST_PREFIX = "sequence-"


def request_id(sequence: int) -> str:
    """The name under which a sequence goes through the engine."""
    return f"{REQUEST_PREFIX}{sequence}"


def sequence_of(request: str) -> int:
    """The sequence of a request; vLLM may have appended `-{random}` to its name."""
    return int(request.removeprefix(REQUEST_PREFIX).split("-", 1)[0])


class TapWorker(WorkerBase):
    """Mixed into a vLLM worker class. The engine calls `thresher_*` through collective_rpc.

    Arguments and results are JSON text, so that no pickled class crosses the RPC.
    """

    _thresher_taps: Taps | None = None
    _thresher_shard: ShardWriter | None = None

    def thresher_install(self, spec_json: str) -> str:
        """Put the taps in place and load the dictionary, if one encodes."""
        self._thresher_spec = HarvestSpec.model_validate_json(spec_json)
        spec = self._thresher_spec
        self._thresher_store = open_store(spec.root)
        architecture = self.model_runner.model_config.hf_config.architectures[0]
        sites = [Site.parse(site) for site in spec.sites]
        model = self.model_runner.get_model()
        self._thresher_taps = Taps(model, family_of(architecture), sites, spec.engine.stop_early)
        self._thresher_sequences = open_sequences(self._thresher_store, spec.corpus)
        self._thresher_dictionary = (
            None if spec.dictionary is None else load_encoder(self._thresher_store, spec.dictionary)
        )
        return self._thresher_provenance().model_dump_json()

    def _thresher_provenance(self) -> EngineProvenance:
        import vllm  # not above: it reads the environment, which the engine sets after this file is imported

        return EngineProvenance(
            engine="vllm",
            engine_version=vllm.__version__,
            model_runner=runner_version(self.model_runner),
            dtype=str(self.model_runner.dtype).removeprefix("torch."),
            torch_version=torch.__version__,
        )

    def _thresher_encoders(self) -> dict[str, RowEncoder]:
        spec, loaded = self._thresher_spec, self._thresher_dictionary
        if loaded is None:
            return {site: DenseRowEncoder(spec.encoding) for site in spec.sites}
        encoder, manifest = loaded
        return {site: SparseRowEncoder(encoder, manifest.num_latents) for site in spec.sites}

    def thresher_open_shard(self, plan_json: str) -> None:
        """Every row computed from now on belongs to this shard."""
        assert self._thresher_shard is None, "one shard at a time"
        plan = ShardPlan.model_validate_json(plan_json)
        rows = self._thresher_sequences.rows(plan.first_sequence, plan.first_sequence + plan.num_sequences)
        self._thresher_shard = ShardWriter(self._thresher_store, plan, rows, self._thresher_encoders())

    def thresher_commit_shard(self) -> str:
        """Assert coverage and commit; returns the commit record."""
        assert self._thresher_shard is not None, "no shard is open"
        with self._thresher_shard as shard:
            self._thresher_shard = None
            return shard.commit(self._thresher_provenance()).model_dump_json()

    def thresher_abort_shard(self) -> None:
        """Give the open shard up, if there is one; nothing of it becomes visible."""
        shard, self._thresher_shard = self._thresher_shard, None
        if shard is not None:
            shard.__exit__()

    def execute_model(self, scheduler_output: Any) -> Any:
        """One step. Its rows go to the open shard before the runner reuses its buffers."""
        if self._thresher_shard is None or scheduler_output.total_num_scheduled_tokens == 0:
            return super().execute_model(scheduler_output)
        assert self._thresher_taps is not None, "taps are installed before a shard is opened"
        self._thresher_taps.arm()
        output = super().execute_model(scheduler_output)
        rows = self._thresher_taps.take()
        for item in step_rows(self.model_runner):
            part = slice(item.first_row, item.first_row + item.count)
            self._thresher_shard.add(
                sequence_of(item.request_id),
                item.start,
                {site: x_ND[part].cpu() for site, x_ND in rows.items()},
            )
        return output
