"""Whole evaluations of dictionaries whose cost is known: the identity, the zero map, a transcoder that doubles.

Shape suffixes: S sequences, L tokens, D width, F latents, V vocabulary.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.model_harvests import WIDTH, save_tiny_model, write_model_harvest
from fixtures.splices import draw_text, evaluated, publish_encoder
from fixtures.targets import autoencoder_target, transcoder_target
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    DictionaryTarget,
    EvaluationManifest,
    SpliceMetrics,
)
from thresher.evaluation.splice.losses import cross_entropy, kl_divergence, log_probabilities
from thresher.evaluation.splice.measure import SequenceSums
from thresher.evaluation.splice.recovery import splice_metrics
from thresher.evaluation.splice.row_sums import ReplacedRows
from thresher.evaluation.splice.spec import EvaluateSpec
from thresher.evaluation.splice.table import evaluation_lines
from thresher.latents.encoder import SparseEncoder
from thresher.latents.subject.spliced_model import SplicedModel
from thresher.pipelines.inspection import inspect_lines
from thresher.pipelines.stages import STAGES
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record, record_bytes

S, L = 10, 12
SITE = "resid_pre.1"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def token_ids_SL(model: Path) -> np.ndarray:
    return draw_text(model, S, L)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, model: Path, token_ids_SL: np.ndarray) -> ObjectStore:
    store = open_store(f"file://{tmp_path_factory.mktemp('splice')}")
    write_model_harvest(store, model, token_ids_SL)
    return store


def signed(decoder_DE: torch.Tensor, width: int = WIDTH) -> SparseEncoder:
    """x_hat = x @ decoder: latents are the positive and the negative part of each coordinate."""
    eye_DD = torch.eye(width)
    return SparseEncoder(
        W_enc_DF=torch.cat([eye_DD, -eye_DD], dim=1),
        b_enc_F=torch.zeros(2 * width),
        W_dec_FE=torch.cat([decoder_DE, -decoder_DE]),
        b_dec_E=torch.zeros(width),
        threshold_F=torch.zeros(2 * width),
    )


def transcoding(encoder: SparseEncoder) -> SparseEncoder:
    """Its b_dec is of another site than its input."""
    return replace(encoder, centres_input=False)


def publish(
    store: ObjectStore, name: str, encoder: SparseEncoder, target: DictionaryTarget | None = None, **spec: Any
) -> str:
    return publish_encoder(store, name, encoder, target or autoencoder_target(SITE, "harvest", WIDTH), **spec)


def metrics_of(made: EvaluationManifest) -> SpliceMetrics:
    """Of an evaluation with one result."""
    (result,) = made.results
    return result.metrics


def test_the_identity_recovers_everything_exactly(store: ObjectStore, model: Path) -> None:
    made = evaluated(store, model, publish(store, "identity", signed(torch.eye(WIDTH))))
    metrics = metrics_of(made)
    for share in ("ce_recovered_from_zero", "ce_recovered_from_mean", "kl_recovered_from_zero"):
        interval = getattr(metrics, share)
        assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0), share
    assert metrics.kl_spliced.value == 0
    assert metrics.ce_spliced == metrics.ce_clean
    assert metrics.fvu == 0
    assert 0 < metrics.kl_mean.value < metrics.kl_zero.value
    assert (made.num_sequences, made.num_predictions, made.results[0].num_spliced_rows) == (
        S,
        S * (L - 1),
        S * (L - 1),
    )


def test_the_zero_dictionary_is_zero_ablation(store: ObjectStore, model: Path) -> None:
    metrics = metrics_of(evaluated(store, model, publish(store, "zero", signed(torch.zeros(WIDTH, WIDTH)))))
    assert metrics.ce_spliced == metrics.ce_zero
    assert metrics.kl_spliced == metrics.kl_zero
    assert metrics.ce_recovered_from_zero.value == 0
    assert metrics.kl_recovered_from_zero.value == 0


@pytest.mark.parametrize("min_position", [None, 4])
def test_a_lossy_dictionary_against_a_hook_of_the_test(
    store: ObjectStore, model: Path, token_ids_SL: np.ndarray, min_position: int | None
) -> None:
    from transformers import AutoModelForCausalLM

    reference = publish(
        store, f"lossy{min_position}", signed(0.7 * torch.eye(WIDTH)), training={"min_position": min_position}
    )
    made = evaluated(store, model, reference, batch_tokens=3 * L)
    first = 1 if min_position is None else min_position
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    token_ids = torch.from_numpy(token_ids_SL)

    def run(replacement: torch.Tensor | None, factor: float = 0.0) -> np.ndarray:
        def hook(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            x = arguments[0].clone()
            rows.append(x[:, first:].double())
            if replacement is not None:
                x[:, first:] = factor * x[:, first:] + replacement.float()
            return (x, *arguments[1:])

        handle = network.model.layers[1].register_forward_pre_hook(hook)
        with torch.no_grad():
            log_p = network(token_ids).logits.double().log_softmax(-1)[:, :-1].numpy()
        handle.remove()
        return log_p

    rows: list[torch.Tensor] = []
    clean = run(None)
    variants = {
        "spliced": run(torch.zeros(WIDTH), 0.7),
        "zero": run(torch.zeros(WIDTH)),
        "mean": run(rows[0].flatten(0, 1).mean(dim=0)),
    }

    def ce(log_p: np.ndarray) -> float:
        return float(-np.take_along_axis(log_p, token_ids_SL[:, 1:, None], axis=2).mean())

    metrics = metrics_of(made)
    assert metrics.ce_clean.value == pytest.approx(ce(clean), abs=1e-5)
    for name, log_q in variants.items():
        kl = float((np.exp(clean) * (clean - log_q)).sum(axis=-1).mean())
        assert getattr(metrics, f"ce_{name}").value == pytest.approx(ce(log_q), abs=1e-5), name
        assert getattr(metrics, f"kl_{name}").value == pytest.approx(kl, abs=1e-5), name
        if name != "spliced":
            recovered = (ce(log_q) - ce(variants["spliced"])) / (ce(log_q) - ce(clean))
            found = getattr(metrics, f"ce_recovered_from_{name}").value
            assert found is None if ce(log_q) < ce(clean) else found == pytest.approx(recovered, abs=1e-3)
    x = rows[0].flatten(0, 1)
    assert metrics.fvu == pytest.approx(float((0.3 * x).square().sum() / (x - x.mean(0)).square().sum()))
    assert made.results[0].num_spliced_rows == S * (L - first)


def test_a_transcoder_replaces_its_output_site_from_its_input_site(
    store: ObjectStore, model: Path, token_ids_SL: np.ndarray
) -> None:
    target = transcoder_target("mlp_in.1", "mlp_out.1", "harvest", WIDTH, WIDTH)
    reference = publish(store, "transcoder", transcoding(signed(2 * torch.eye(WIDTH))), target=target)
    made = evaluated(store, model, reference)
    assert (made.results[0].input_sites, made.results[0].output_sites) == (["mlp_in.1"], ["mlp_out.1"])
    token_ids = torch.from_numpy(token_ids_SL)

    spliced = SplicedModel(model, ["mlp_in.1", "mlp_out.1"])
    x = spliced.rows(token_ids)["mlp_in.1"]
    logits = spliced.logits(token_ids, {"mlp_out.1": lambda y: torch.cat([y[:, :1], 2 * x[:, 1:]], dim=1)})
    expected = cross_entropy(log_probabilities(logits), token_ids).sum() / made.num_predictions
    assert metrics_of(made).ce_spliced.value == pytest.approx(float(expected), abs=1e-6)


def test_a_skip_connection_reads_the_rows_too(store: ObjectStore, model: Path) -> None:
    """Codes that write nothing beside a linear map of the input: the same as the latents that make that map."""
    metrics = []
    for name, made in (
        ("latents", signed(0.5 * torch.eye(WIDTH))),
        ("skip", replace(signed(torch.zeros(WIDTH, WIDTH)), W_skip_DE=0.5 * torch.eye(WIDTH))),
    ):
        encoder = transcoding(made)
        target = transcoder_target("mlp_in.1", "mlp_out.1", "harvest", WIDTH, WIDTH)
        metrics.append(metrics_of(evaluated(store, model, publish(store, name, encoder, target))))
    assert metrics[0].ce_spliced.value == pytest.approx(metrics[1].ce_spliced.value, abs=1e-6)
    assert metrics[0].fvu == pytest.approx(metrics[1].fvu)


def test_losses_against_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_p, logits_q = (4 * torch.randn(3, 6, 20, generator=generator) for _ in range(2))
    token_ids = torch.randint(0, 20, (3, 6), generator=generator)
    p, q = (item.double().softmax(-1)[:, :-1] for item in (logits_p, logits_q))
    kl = (p * (p / q).log()).sum(dim=(1, 2))
    torch.testing.assert_close(
        kl_divergence(log_probabilities(logits_p), log_probabilities(logits_q)), kl, rtol=1e-5, atol=1e-5
    )
    nats = [-sum(p[b, t, token_ids[b, t + 1]].log() for t in range(5)) for b in range(3)]
    torch.testing.assert_close(
        cross_entropy(log_probabilities(logits_p), token_ids), torch.stack(nats), rtol=1e-5, atol=1e-5
    )


def sums_of(**means: list[float]) -> SequenceSums:
    rows = ReplacedRows(num_rows=1, fvu=0.5, l0=1)
    filled = {f"{kind}_{name}": [1.0] * len(means["ce_clean"]) for kind in ("ce", "kl") for name in
              ("spliced", "zero", "mean")} | means  # fmt: skip
    return SequenceSums(10, {name: 10 * torch.tensor(value).double() for name, value in filled.items()}, rows)


def test_intervals_are_of_resampled_sequences() -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(3, 0.5, 400)
    spliced = (clean + 0.1).tolist()
    metrics = splice_metrics(
        sums_of(ce_clean=clean.tolist(), ce_spliced=spliced, ce_zero=(clean + 1).tolist()), 2000, seed=1
    )
    error = clean.std() / np.sqrt(400)
    assert metrics.ce_clean.value == pytest.approx(clean.mean())
    assert metrics.ce_clean.low == pytest.approx(clean.mean() - 1.96 * error, abs=0.15 * error)
    assert metrics.ce_clean.high == pytest.approx(clean.mean() + 1.96 * error, abs=0.15 * error)
    share = metrics.ce_recovered_from_zero
    assert (share.value, share.low, share.high) == (
        pytest.approx(0.9),
        pytest.approx(0.9),
        pytest.approx(0.9),
    )


def test_a_share_of_an_ablation_that_does_no_harm_is_undefined() -> None:
    metrics = splice_metrics(sums_of(ce_clean=[2.0, 2.5], ce_zero=[1.0, 1.0]), 100, seed=0)
    assert metrics.ce_recovered_from_zero.value is None
    assert metrics.kl_recovered_from_zero.value == 0


def test_an_evaluation_is_made_once_and_batches_do_not_enter_its_id(store: ObjectStore, model: Path) -> None:
    reference = publish(store, "once", signed(0.9 * torch.eye(WIDTH)))
    made = evaluated(store, model, reference, num_tokens=5 * L)
    assert made.num_sequences == 5
    again = evaluated(store, model, reference, num_tokens=5 * L, batch_tokens=L)
    assert again == made
    other = evaluated(store, model, reference, num_tokens=5 * L, seed=1)
    assert other.evaluation_id != made.evaluation_id
    assert metrics_of(other).ce_clean != metrics_of(made).ce_clean


def test_an_evaluation_of_before_there_were_several_sites_is_found_and_read(
    store: ObjectStore, model: Path
) -> None:
    """The same spec has the id that it had, and the manifest of then is read as one result."""
    reference = publish(store, "old", signed(0.9 * torch.eye(WIDTH)))
    made = evaluated(store, model, reference)
    artifact = paths.evaluation("old", "1", made.evaluation_id)
    old = json.loads(record_bytes(made))
    (result,) = old.pop("results")
    old |= {name: result[name] for name in ("model", "num_spliced_rows")}
    old |= {"input_site": SITE, "output_site": SITE, "metrics": result["metrics"] | {"fvu": 0.25}}
    store.put(paths.manifest(artifact), json.dumps(old).encode())
    found = evaluated(store, model, reference)
    assert metrics_of(found).fvu == 0.25, "the stored one"
    assert (found.results[0].input_sites, found.results[0].output_sites) == ([SITE], [SITE])
    assert found.results[0].model == made.results[0].model
    of_then = {
        "spec": found.spec,
        "weights_sha256": found.dictionary.weights_sha256,
        "harvest_id": "harvest",
        "model": [found.results[0].model.config_sha256, found.results[0].model.weights_sha256],
        "code_version": "0.1.0",
    }
    assert found.evaluation_id == content_id("evaluation", of_then)
    del old["input_site"]
    store.put(paths.manifest(artifact), json.dumps(old).encode())
    with pytest.raises(IntegrityError, match="another format"):
        evaluated(store, model, reference)


def test_the_table_has_every_figure(store: ObjectStore, model: Path) -> None:
    made = evaluated(store, model, publish(store, "shown", signed(0.9 * torch.eye(WIDTH))))
    text = "\n".join(evaluation_lines(made))
    for name, value in metrics_of(made):
        if name not in ("fvu", "l0") and value.value is not None:
            assert f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]" in text, name
    assert f"FVU {metrics_of(made).fvu:.4f}" in text
    assert f"shown@1 spliced into {model.name} at {SITE}" in text


def test_the_stage_prints_the_table_apart_from_the_id_and_inspect_shows_it_again(
    store: ObjectStore, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = publish(store, "staged", signed(0.9 * torch.eye(WIDTH)))
    file = tmp_path / "evaluate.yaml"
    file.write_text("split: fit\n")
    given = [f"root={store.url}", f"dictionary={reference}", f"model={model}"]
    evaluation_id = STAGES["evaluate"].run(EvaluateSpec.load(file, given))
    made = read_record(
        store, paths.manifest(paths.evaluation("staged", "1", evaluation_id)), EvaluationManifest
    )
    table = "\n".join(evaluation_lines(made))
    assert table in capsys.readouterr().err
    artifact = paths.evaluation("staged", "1", evaluation_id)
    assert (
        "\n".join(inspect_lines(artifact, store.url, sample_rows=0, tokenizer=None, as_json=False)) == table
    )


def test_what_cannot_be_spliced_is_refused(store: ObjectStore, model: Path, tmp_path: Path) -> None:
    encoder = signed(torch.eye(WIDTH))
    backward = transcoder_target("mlp_out.1", "mlp_in.1", "harvest", WIDTH, WIDTH)
    with pytest.raises(SpecError, match="before the one it reads"):
        evaluated(store, model, publish(store, "backward", transcoding(encoder), target=backward))
    known = publish(store, "known", encoder)
    with pytest.raises(SpecError, match="weights has the sha256"):
        evaluated(store, save_tiny_model(tmp_path, seed=1), known)
    with pytest.raises(SpecError, match="The corpus has nothing of it"):
        evaluated(store, model, known, split="report")
