"""transformers' forward with hooks, torch.save of each batch, files uploaded afterwards: how scripts do it."""

import tempfile
from pathlib import Path

import torch

from harvest.case import WARM_UP_SEQUENCES, Case, Stopwatch, answer, upload_folder

BATCH_SIZES = (1, 4, 16)


def main(case: Case) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(case.model, dtype=getattr(torch, case.dtype)).eval()
    kept: dict[int, torch.Tensor] = {}
    for layer in case.layers:

        def keep(_module, _arguments, output, layer=layer) -> None:
            kept[layer] = (output[0] if isinstance(output, tuple) else output).to(torch.bfloat16)

        model.model.layers[layer].register_forward_hook(keep)
    tokens = torch.tensor(case.token_ids(0, WARM_UP_SEQUENCES + case.sequences))

    def run(rows: torch.Tensor, batch: int, folder: Path) -> None:
        for start in range(0, len(rows), batch):
            kept.clear()
            # The decoder alone: no head.
            model.model(rows[start : start + batch], use_cache=False)
            torch.save(dict(kept), folder / f"batch-{start:06d}.pt")

    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        times = {}
        for batch in BATCH_SIZES:
            with Stopwatch() as watch:
                run(tokens[:WARM_UP_SEQUENCES], batch, Path(folder))
            times[batch] = watch.elapsed_s
        best = min(times, key=lambda batch: times[batch])
        for file in Path(folder).iterdir():
            file.unlink()
        with Stopwatch() as watch:
            run(tokens[WARM_UP_SEQUENCES:], best, Path(folder))
            upload_folder(Path(folder))
    answer(case, watch, batch_sequences=best)


if __name__ == "__main__":
    main(Case.from_arguments())
