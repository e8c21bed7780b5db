"""vLLM's own extract_hidden_states: a file a request by its connector, files uploaded afterwards."""

import os
import tempfile
import time
from pathlib import Path

from harvest.case import (
    LENGTH,
    MAX_BATCH_SEQUENCES,
    MAX_BATCH_TOKENS,
    WARM_UP_SEQUENCES,
    Case,
    Stopwatch,
    answer,
    upload_folder,
)

LAST_FILES_S = 20


def main(case: Case) -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams

    with tempfile.TemporaryDirectory() as folder:
        llm = LLM(
            model=case.model,
            dtype=case.dtype,
            skip_tokenizer_init=True,
            enforce_eager=True,
            enable_prefix_caching=False,
            max_model_len=LENGTH + 2,
            max_num_batched_tokens=MAX_BATCH_TOKENS,
            max_num_seqs=MAX_BATCH_SEQUENCES,
            kv_cache_memory_bytes=4 << 30,
            speculative_config={
                "method": "extract_hidden_states",
                "num_speculative_tokens": 1,
                "draft_model_config": {
                    "hf_config": {"eagle_aux_hidden_state_layer_ids": [layer + 1 for layer in case.layers]}
                },
            },
            kv_transfer_config={
                "kv_connector": "CPUHiddenStatesConnector",
                "kv_connector_module_path": "harvest.cpu_connector",
                "kv_role": "kv_producer",
                "kv_connector_extra_config": {
                    "shared_storage_path": folder,
                    "use_synchronization_lock": False,
                },
            },
        )
        sampling = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False)

        def run(start: int, stop: int) -> None:
            prompts = [{"prompt_token_ids": tokens} for tokens in case.token_ids(start, stop)]
            llm.generate(prompts, sampling, use_tqdm=False)
            # The connector saves what has finished at the steps that follow.
            deadline_s = time.monotonic() + LAST_FILES_S
            while len(list(Path(folder).rglob("*.safetensors"))) < stop - start:
                assert time.monotonic() < deadline_s, "the connector did not write every file"
                llm.llm_engine.step()

        run(0, WARM_UP_SEQUENCES)
        for file in Path(folder).rglob("*.safetensors"):
            file.unlink()
        with Stopwatch() as watch:
            run(WARM_UP_SEQUENCES, WARM_UP_SEQUENCES + case.sequences)
            sent = upload_folder(Path(folder))
        answer(case, watch, bytes_uploaded=sent)


if __name__ == "__main__":
    main(Case.from_arguments())
