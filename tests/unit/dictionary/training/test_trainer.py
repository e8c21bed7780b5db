"""The trainer: exact resume, many workers, clipping, resampling, and what holds decoder rows in place.

Shape suffixes: D width of the input, E width of the output, F latents.
"""

import math

import pytest
import torch

from fixtures.pair_fits import ARCHITECTURES, CPU, PairFit, pair_spec
from fixtures.superposition import Superposition
from fixtures.thread_workers import run_workers
from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.training import resampling
from thresher.dictionary.training.trainer import Trainer, TrainingState

AUTOENCODER = PairLayout((12,), (12,))
SKIP = PairLayout((12,), (9,), reconstructs_input=False, skip=True)
PENALISED = ("relu", "gated", "jumprelu")
NUM_STEPS = 12


def small_fit(name: str, layout: PairLayout = AUTOENCODER, **extra: object) -> PairFit:
    """A fit of a few steps in which latents die, and are set anew where that is possible."""
    architecture = {**ARCHITECTURES[name], "num_latents": 40, **extra}
    if architecture["kind"] in PENALISED:
        architecture = {"resample_at": [0.5], **architecture}
    planted = Superposition.random(layout.d_in, None if layout.reconstructs_input else layout.d_out)
    spec = pair_spec(architecture, num_steps=NUM_STEPS, batch_rows=64, dead_after_rows=150)
    return PairFit(spec, layout, *planted.rows(1000, seed=1))


def same(one: TrainingState, other: TrainingState) -> bool:
    return (one.step, one.variance, one.tensors.keys()) == (
        other.step,
        other.variance,
        other.tensors.keys(),
    ) and all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


@pytest.mark.parametrize("layout", [AUTOENCODER, SKIP], ids=["autoencoder", "skip"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_resumed_trainer_ends_in_the_same_bits(name: str, layout: PairLayout) -> None:
    fit = small_fit(name, layout)
    undisturbed = fit.trainer()
    fit.train(undisturbed)
    state = undisturbed.state()
    for stop in (5, 7):
        interrupted = fit.trainer()
        fit.train(interrupted, stop)
        resumed = fit.trainer(interrupted.state())
        fit.train(resumed)
        assert same(resumed.state(), state)
    assert not same(fit.initial(), state)


def test_whitening_is_in_the_state() -> None:
    fit = small_fit("batch_topk", whiten_input=True)
    undisturbed, interrupted = fit.trainer(), fit.trainer()
    fit.train(undisturbed)
    fit.train(interrupted, 5)
    resumed = fit.trainer(interrupted.state())
    fit.train(resumed)
    assert same(resumed.state(), undisturbed.state())


@pytest.mark.parametrize("name", ["topk", "matryoshka", "relu_annealed", "gated", "jumprelu_target"])
def test_steps_do_not_depend_on_the_number_of_workers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = small_fit(name, SKIP)
    alone = fit.trainer()
    report = fit.train(alone, NUM_STEPS)
    initial = fit.initial()

    def worker(rank: int) -> tuple[Trainer, float]:
        state = TrainingState(0, initial.variance, {n: t + rank for n, t in initial.tensors.items()})
        trainer = Trainer(fit.spec, SKIP, state, CPU)
        for step in range(NUM_STEPS):
            batch, rows = fit.batch(step), slice(0, 23) if rank == 0 else slice(23, 64)
            own = trainer.step(RowPairs(batch.x_BD[rows], batch.y_BE[rows]))
        return trainer, float(own.reconstruction_loss)

    for trainer, loss in run_workers(monkeypatch, 2, worker):
        assert loss == pytest.approx(float(report.reconstruction_loss), rel=1e-3)
        for weight_name, weight in trainer.weights.items():
            torch.testing.assert_close(
                weight, alone.weights[weight_name], rtol=1e-3, atol=1e-3, msg=weight_name
            )


def test_the_joint_norm_of_gradients_is_clipped() -> None:
    norms = {}
    for limit in (None, 1e-3):
        fit = small_fit("relu", coefficient=5.0, sparsity_warmup_fraction=0.0)
        spec = fit.spec.model_copy(
            update={"training": fit.spec.training.model_copy(update={"max_gradient_norm": limit})}
        )
        trainer = Trainer(spec, AUTOENCODER, fit.initial(), CPU)
        trainer.step(fit.batch(0))
        first_moments = [t for n, t in trainer.state().tensors.items() if n.startswith("exp_avg.")]
        norms[limit] = math.sqrt(sum(float(t.square().sum()) for t in first_moments)) / 0.1
    assert norms[None] > 0.1
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
def test_unit_rows_stay_so_and_free_ones_do_not(decoder_norm: str) -> None:
    layout = PairLayout((5, 7), (5, 7))
    fit = small_fit("batch_topk", layout, decoder_norm=decoder_norm)
    trainer = fit.trainer()
    fit.train(trainer)
    W_dec_FE = trainer.weights["W_dec"].detach()
    norms_F = W_dec_FE[:, :5].norm(dim=1) + W_dec_FE[:, 5:].norm(dim=1)
    assert torch.allclose(norms_F, torch.ones(40), atol=1e-5) == (decoder_norm == "unit")


def test_dead_latents_are_set_anew_to_rows_and_forget_their_moments() -> None:
    fit = small_fit("gated", resample_at=[1.0])
    trainer = fit.trainer()
    fit.train(trainer, NUM_STEPS - 1)
    before = trainer.state()
    before.tensors["rows_since_active"][:3] = 10**6
    before.tensors["b_gate"][:3] = -100.0
    before.tensors["r_mag"][:3] = 1.0
    trainer = fit.trainer(before)
    trainer.step(fit.batch(NUM_STEPS - 1))
    after = trainer.state().tensors
    W_dec_FE, b_dec_E = after["W_dec"], after["b_dec"]
    rows_BE = fit.batch(NUM_STEPS - 1).y_BE * after["input.scale_D"] - b_dec_E
    cosine_3B = W_dec_FE[:3] @ torch.nn.functional.normalize(rows_BE, dim=1).T
    assert cosine_3B.amax(dim=1) == pytest.approx(torch.ones(3), abs=1e-4)
    assert len(set(cosine_3B.argmax(dim=1).tolist())) == 3, "no row twice"
    assert torch.equal(after["rows_since_active"][:3], torch.zeros(3, dtype=torch.int64))
    norm = after["W_enc"][:3].norm(dim=1)
    living_F = before.tensors["rows_since_active"] < 150 - 64
    mean_norm = after["W_enc"][living_F].norm(dim=1).mean()
    assert norm.tolist() == pytest.approx([0.2 * float(mean_norm)] * 3, rel=0.2)
    for name in ("b_gate", "r_mag", "b_mag"):
        assert torch.equal(after[name][:3], torch.zeros(3))
    for name in ("W_enc", "W_dec", "b_gate", "r_mag", "b_mag"):
        for moment in ("exp_avg", "exp_avg_sq"):
            assert not after[f"{moment}.{name}"][:3].any()
    assert after["exp_avg.W_enc"][3:].any()


def test_rows_without_loss_are_never_drawn() -> None:
    fit = small_fit("relu")
    trainer = fit.trainer()
    dead_F = torch.zeros(40, dtype=torch.bool)
    dead_F[:4] = True
    batch = fit.batch(0)
    residual_BE = torch.zeros_like(batch.y_BE)
    residual_BE[[7, 30]] = 1.0
    latents_N = resampling.resample(trainer._objective, trainer.weights, batch, residual_BE, dead_F, seed=1)
    assert latents_N.tolist() == [0, 1]
    found_NE = trainer.weights["W_dec"][:2] + 0
    expected_NE = torch.nn.functional.normalize(batch.y_BE[[7, 30]] - trainer.weights["b_dec"], dim=1)
    assert torch.allclose((found_NE @ expected_NE.T).amax(dim=1), torch.ones(2), atol=1e-5)


def test_when_latents_are_set_anew() -> None:
    due = [step for step in range(100) if resampling.is_due((0.125, 0.5, 0.0), step, 100)]
    assert due == [0, 11, 49]
    assert resampling.seed_of(0, 5) != resampling.seed_of(0, 6) != resampling.seed_of(1, 6)


@pytest.mark.parametrize("target", [2, 4])
def test_a_target_of_l0_is_reached(target: int) -> None:
    planted = Superposition.random(24)
    x_ND = planted.rows(4096, seed=1)[0]
    spec = pair_spec(
        {"kind": "jumprelu", "num_latents": 64, "target_l0": target}, num_steps=400, learning_rate=1e-3
    )
    fit = PairFit(spec, PairLayout((24,), (24,)), x_ND, x_ND)
    trainer = fit.trainer()
    fit.train(trainer)
    codes = trainer.dictionary().encode(x_ND)
    assert len(codes.values) / len(x_ND) == pytest.approx(target, rel=0.25)
