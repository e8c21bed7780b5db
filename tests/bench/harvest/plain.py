"""Stock vLLM: prefill of the same requests, nothing read."""

import os

from harvest.case import (
    LENGTH,
    MAX_BATCH_SEQUENCES,
    MAX_BATCH_TOKENS,
    WARM_UP_SEQUENCES,
    Case,
    Stopwatch,
    answer,
)


def main(case: Case) -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=case.model,
        dtype=case.dtype,
        skip_tokenizer_init=True,
        enforce_eager=True,
        enable_prefix_caching=False,
        max_model_len=LENGTH + 1,
        max_num_batched_tokens=MAX_BATCH_TOKENS,
        max_num_seqs=MAX_BATCH_SEQUENCES,
        kv_cache_memory_bytes=2 << 30,
    )
    sampling = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False)

    def prefill(start: int, stop: int) -> None:
        prompts = [{"prompt_token_ids": tokens} for tokens in case.token_ids(start, stop)]
        llm.generate(prompts, sampling, use_tqdm=False)

    prefill(0, WARM_UP_SEQUENCES)
    with Stopwatch() as watch:
        prefill(WARM_UP_SEQUENCES, WARM_UP_SEQUENCES + case.sequences)
    answer(case, watch)


if __name__ == "__main__":
    main(Case.from_arguments())
