"""What runs inside vLLM's worker: taps, and the sink that their rows go to. Rows never cross a process border."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from thresher.activations.row_encoding import Centre, DenseEncoding, RowEncoding
from thresher.activations.row_selection import RowSelector
from thresher.activations.sequences import open_sequences
from thresher.contracts.manifests import EngineProvenance
from thresher.contracts.sites import Site
from thresher.harvest.codes_encoding import CodesEncoding
from thresher.harvest.plan import ShardPlan
from thresher.harvest.runner_adapter import RequestRows, runner_version, step_rows
from thresher.harvest.selected_rows import SelectedRows
from thresher.harvest.shard_sink import ShardSink, StepRows
from thresher.harvest.site_map import family_of
from thresher.harvest.spec import HarvestSpec
from thresher.harvest.tap_choice import reads_auxiliary_outputs
from thresher.harvest.taps import (
    AuxiliaryTaps,
    HookTaps,
    Taps,
    leave_out_logits,
    sites_of_stage,
    stop_after,
)
from thresher.latents.site_encoder import encoder_at_site
from thresher.latents.weights import load_encoder
from thresher.storage import open_store

if TYPE_CHECKING:
    from vllm.v1.worker.gpu_worker import Worker as WorkerBase
else:
    WorkerBase = object

SPEC_KEY = "thresher"
"""Of vLLM's additional_config: the spec as JSON, since taps are placed before the engine can be called."""


class TapWorker(WorkerBase):
    """Mixed into a vLLM worker class. The engine calls `thresher_*` through collective_rpc.

    Arguments and results are JSON text, so that no pickled class crosses the RPC. Under tensor parallelism the ranks
    hold the same rows: each takes the shards whose index is its own modulo their number.
    """

    _thresher_taps: Taps | None = None
    _thresher_sink: ShardSink | None = None
    _thresher_sample: dict[str, list[torch.Tensor]] | None = None

    def load_model(self, *arguments: Any, **keywords: Any) -> None:
        """Load the model and place the taps, before it is profiled and compiled."""
        super().load_model(*arguments, **keywords)
        self._thresher_spec = HarvestSpec.model_validate_json(self.vllm_config.additional_config[SPEC_KEY])
        spec, runner, model = self._thresher_spec, self.model_runner, self.model_runner.get_model()
        parallel = self.vllm_config.parallel_config
        architecture = runner.model_config.hf_config.architectures[0]
        family = family_of(architecture, spec.family)
        wanted = [Site.parse(site) for site in spec.sites]
        sites = sites_of_stage(model, family, wanted)
        is_cpu = self.device.type == "cpu"
        self._thresher_taps = (
            AuxiliaryTaps(runner, model, sites)
            if reads_auxiliary_outputs(spec, architecture, is_cpu=is_cpu)
            else HookTaps(model, family, sites)
        )
        self._thresher_sites = [str(site) for site in sites]
        self._thresher_has_first_site = bool(sites) and min(w.layer for w in wanted) == min(
            s.layer for s in sites
        )
        if spec.engine.stop_early and parallel.pipeline_parallel_size == 1:
            stop_after(model, family, sites)
        leave_out_logits(model, runner.model_config.get_vocab_size())

    def thresher_install(self) -> str:
        """Open the store, load the dictionary if one encodes, and say what computes the rows."""
        from vllm.distributed.parallel_state import get_tp_group

        spec = self._thresher_spec
        self._thresher_store = open_store(spec.root)
        self._thresher_sequences = open_sequences(self._thresher_store, spec.corpus)
        self._thresher_rank, self._thresher_ranks = get_tp_group().rank_in_group, get_tp_group().world_size
        self._thresher_rows = SelectedRows(RowSelector(spec.selection, self._thresher_sequences.manifest))
        self._thresher_encodings: dict[str, RowEncoding] = {}
        self._thresher_encoder = None
        if spec.dictionary is not None:
            encoder, dictionary = load_encoder(self._thresher_store, spec.dictionary)
            self._thresher_encoder = encoder_at_site(encoder, dictionary, spec.sites[0]).to(self.device)
        self._thresher_sink = ShardSink(
            self._thresher_store,
            self._thresher_sites,
            self._thresher_encodings,
            ring_bytes=spec.engine.ring_mib << 20,
            writes_addresses=self._thresher_has_first_site,
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

    def thresher_open_shard(self, plan_json: str) -> None:
        """Rows of the plan's sequences are stored from now on, by the rank whose shard it is."""
        assert self._thresher_sink is not None, "installed before a shard is opened"
        plan = ShardPlan.model_validate_json(plan_json)
        if plan.index % self._thresher_ranks != self._thresher_rank:
            return
        stop = plan.first_sequence + plan.num_sequences
        mask = self._thresher_rows.open(self._thresher_sequences, plan.first_sequence, stop)
        self._thresher_sink.open(plan, self._thresher_sequences.rows(plan.first_sequence, stop, mask))

    def thresher_close_shard(self, plan_json: str) -> None:
        """All rows of the shard have been computed."""
        assert self._thresher_sink is not None, "installed before a shard is closed"
        plan = ShardPlan.model_validate_json(plan_json)
        if plan.index % self._thresher_ranks == self._thresher_rank:
            self._thresher_sink.close(plan)
            self._thresher_rows.close(plan.first_sequence)

    def thresher_collect(self) -> str:
        """What was written since the last call, and how long the engine has stood still for it in all."""
        assert self._thresher_sink is not None, "installed before parts are collected"
        parts = [part.model_dump(mode="json") for part in self._thresher_sink.collect()]
        return json.dumps({"parts": parts, "wait_s": self._thresher_sink.wait_s})

    def thresher_abort(self) -> None:
        """Give up all that is open; nothing of it becomes visible."""
        if self._thresher_sink is not None:
            self._thresher_sink.abort()

    def thresher_begin_sample(self) -> None:
        """Keep the rows of the next steps, to measure the centre of the encoding from."""
        self._thresher_sample = {}

    def thresher_end_sample(self) -> None:
        """Set the encodings by the rows kept since."""
        assert self._thresher_sample is not None, "no sample was begun"
        sample, self._thresher_sample = self._thresher_sample, None
        for site, parts in sample.items():
            x_ND = torch.cat(parts)
            encoding = DenseEncoding(self._thresher_spec.encoding, x_ND.shape[1], Centre.of(x_ND))
            self._thresher_encodings[site] = encoding

    def _thresher_encoding(self, site: str, width: int) -> RowEncoding:
        if site not in self._thresher_encodings:
            encoder = self._thresher_encoder
            self._thresher_encodings[site] = (
                DenseEncoding(self._thresher_spec.encoding, width)
                if encoder is None
                else CodesEncoding(encoder)
            )
        return self._thresher_encodings[site]

    def execute_model(self, scheduler_output: Any) -> Any:
        """One step. Its rows are encoded and handed on before the runner reuses its buffers."""
        keeps = self._thresher_sample is not None or self._thresher_rows_wanted()
        if not keeps or scheduler_output.total_num_scheduled_tokens == 0:
            return super().execute_model(scheduler_output)
        assert self._thresher_taps is not None, "taps are placed when the model is loaded"
        self._thresher_taps.arm()
        output = super().execute_model(scheduler_output)
        rows = self._thresher_taps.take(self.model_runner)
        self._thresher_keep(rows, step_rows(self.model_runner))
        return output

    def _thresher_rows_wanted(self) -> bool:
        return self._thresher_sink is not None and self._thresher_rows.is_open

    def _thresher_keep(self, rows: Mapping[str, torch.Tensor], requests: list[RequestRows]) -> None:
        if self._thresher_sample is not None:
            num_rows = sum(item.count for item in requests)
            for site, x_ND in rows.items():
                self._thresher_sample.setdefault(site, []).append(x_ND[:num_rows])
            return
        assert self._thresher_sink is not None
        taken = self._thresher_rows.take(requests)
        if not taken.sequences:
            return
        encoded = {
            site: self._thresher_encoding(site, x_ND.shape[1]).encode(taken.gather(x_ND)).to_host()
            for site, x_ND in rows.items()
        }
        copied = None
        if self.device.type == "cuda":
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            copied.record()
        self._thresher_sink.put(StepRows(encoded, taken.sequences, copied))
