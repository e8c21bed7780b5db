"""Crosscoders spliced into the model, or the models, whose rows they read."""

from pathlib import Path

import pytest
import torch

from fixtures.model_harvests import WIDTH, save_tiny_model
from fixtures.plain_models import PlainModel, check_metrics, fixed, fvu, reconstructed
from fixtures.splices import (
    LENGTH,
    NUM_SEQUENCES,
    TwoModels,
    evaluated,
    lossy,
    publish_encoder,
    target_of,
)
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import EvaluationManifest
from thresher.evaluation.splice.table import evaluation_lines

NEURONS = 64


@pytest.mark.parametrize("k", [None, 40])
def test_a_crosscoder_reads_the_rows_of_an_unspliced_forward(two_models: TwoModels, k: int | None) -> None:
    widths = {"mlp_neurons.2": NEURONS, "mlp_out.0": WIDTH, "attn_out.1": WIDTH}
    sites = list(widths)
    encoder = lossy(sum(widths.values()), centres_input=False, k=k)
    target = target_of("crosscoder", [(site, width, "harvest", 1.0) for site, width in widths.items()])
    made = evaluated(
        two_models.store,
        two_models.base,
        publish_encoder(two_models.store, f"cross{k}", encoder, target),
        batch_tokens=4 * LENGTH,
    )
    assert [result.output_sites for result in made.results] == [*([site] for site in sites), sites]
    assert [result.input_sites for result in made.results] == [sites] * 4
    plain = PlainModel(two_models.base, two_models.token_ids_SL)
    clean = plain.rows(sites)
    all_hat, l0 = reconstructed(encoder, torch.cat([clean[site] for site in sites], dim=-1))
    y_hat = dict(zip(sites, all_hat.split(list(widths.values()), dim=-1), strict=True))
    for result in made.results:
        check_metrics(result.metrics, plain, clean, fixed(y_hat), result.output_sites)
        assert result.metrics.fvu == pytest.approx(fvu(y_hat, clean, result.output_sites), rel=1e-4)
        assert result.metrics.l0 == pytest.approx(l0)


def test_a_crosscoder_of_the_stream_at_all_sites_is_the_one_at_the_last(two_models: TwoModels) -> None:
    """What goes on behind the last site is its reconstruction alone, and that is of rows before any splice."""
    sites = [("resid_post.1", WIDTH, "harvest", 1.0), ("resid_post.0", WIDTH, "harvest", 1.0)]
    encoder = lossy(2 * WIDTH, centres_input=False)
    last, first, both = evaluated(
        two_models.store,
        two_models.base,
        publish_encoder(two_models.store, "stream", encoder, target_of("crosscoder", sites)),
    ).results
    assert both.metrics.ce_spliced.value == pytest.approx(last.metrics.ce_spliced.value, abs=1e-6)
    assert both.metrics.kl_spliced.value == pytest.approx(last.metrics.kl_spliced.value, abs=1e-6)
    assert first.metrics.kl_spliced.value != pytest.approx(last.metrics.kl_spliced.value, abs=1e-3)


@pytest.fixture(scope="module")
def of_two_models(two_models: TwoModels) -> str:
    """Sites of the second model between those of the first."""
    sites = [("resid_post.1", "harvest"), ("resid_post.1", "other"), ("mlp_out.0", "again")]
    target = target_of("crosscoder", [(site, WIDTH, harvest, 1.0) for site, harvest in sites])
    return publish_encoder(two_models.store, "models", lossy(3 * WIDTH, centres_input=False), target)


@pytest.fixture(scope="module")
def made_of_two(two_models: TwoModels, of_two_models: str) -> EvaluationManifest:
    return evaluated(two_models.store, two_models.base, of_two_models, other_models=[str(two_models.tuned)])


def test_a_crosscoder_of_two_models_is_spliced_into_each(
    two_models: TwoModels, of_two_models: str, made_of_two: EvaluationManifest
) -> None:
    made, base, tuned = made_of_two, two_models.base, two_models.tuned
    assert [(result.model.name, result.output_sites) for result in made.results] == [
        (base.name, ["resid_post.1"]),
        (base.name, ["mlp_out.0"]),
        (base.name, ["resid_post.1", "mlp_out.0"]),
        (tuned.name, ["resid_post.1"]),
    ]
    assert all(result.input_sites == ["resid_post.1", "resid_post.1", "mlp_out.0"] for result in made.results)
    plain = {folder: PlainModel(folder, two_models.token_ids_SL) for folder in (base, tuned)}
    rows = {
        base: plain[base].rows(["resid_post.1", "mlp_out.0"]),
        tuned: plain[tuned].rows(["resid_post.1"]),
    }
    x = [rows[base]["resid_post.1"], rows[tuned]["resid_post.1"], rows[base]["mlp_out.0"]]
    encoder = lossy(3 * WIDTH, centres_input=False)
    first, second, third = reconstructed(encoder, torch.cat(x, dim=-1))[0].split(WIDTH, dim=-1)
    y_hat = {base: {"resid_post.1": first, "mlp_out.0": third}, tuned: {"resid_post.1": second}}
    for folder, result in zip([base, base, base, tuned], made.results, strict=True):
        check_metrics(result.metrics, plain[folder], rows[folder], fixed(y_hat[folder]), result.output_sites)
        assert result.metrics.fvu == pytest.approx(
            fvu(y_hat[folder], rows[folder], result.output_sites), rel=1e-4
        )
    swapped = evaluated(
        two_models.store, two_models.tuned, of_two_models, other_models=[str(two_models.base)]
    )
    assert swapped.evaluation_id == made.evaluation_id, "folders are known by what they hold"


def test_the_table_has_a_row_a_splice(two_models: TwoModels, made_of_two: EvaluationManifest) -> None:
    made, base, tuned = made_of_two, two_models.base.name, two_models.tuned.name
    lines = list(evaluation_lines(made))
    assert lines[0] == f"models@1 spliced into {base} and {tuned}, a row for each splice"
    assert f"{made.num_predictions:,} tokens predicted in {NUM_SEQUENCES} sequences" in lines[1]
    names = [
        f"resid_post.1 of {base}",
        f"mlp_out.0 of {base}",
        f"all 2 at once of {base}",
        f"resid_post.1 of {tuned}",
    ]
    for name, result in zip(names, made.results, strict=True):
        text = "\n".join(line for line in lines if line.startswith(f"{name} "))
        assert f" {result.num_spliced_rows:,} " in text
        assert f" {result.metrics.fvu:.4f} " in text
        assert f" {result.metrics.l0:.1f}\n" in text
        for figure, interval in result.metrics:
            if figure not in ("fvu", "l0") and interval.low is not None:
                assert f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]" in text, figure


def test_two_models_of_one_name_are_told_apart(made_of_two: EvaluationManifest) -> None:
    renamed = [
        result.model_copy(update={"model": result.model.model_copy(update={"name": "model"})})
        for result in made_of_two.results
    ]
    text = "\n".join(evaluation_lines(made_of_two.model_copy(update={"results": renamed})))
    for result in made_of_two.results:
        assert f"resid_post.1 of model {result.model.weights_sha256[:8]} " in text


def test_folders_that_do_not_fit_are_refused_before_anything_is_run(
    two_models: TwoModels, of_two_models: str, tmp_path: Path
) -> None:
    with pytest.raises(
        SpecError, match=rf"^other_models: .*give the folder of {two_models.tuned.name} of harvest other"
    ):
        evaluated(two_models.store, two_models.base, of_two_models)
    stranger = save_tiny_model(tmp_path / "stranger", seed=2)
    for given in ([stranger], [two_models.tuned, stranger]):
        with pytest.raises(SpecError, match=r"^other_models: .*stranger.*differs from each of them"):
            evaluated(
                two_models.store,
                two_models.base,
                of_two_models,
                other_models=[str(folder) for folder in given],
            )
    with pytest.raises(SpecError, match=r"^model: .*stranger.*differs from each of them"):
        evaluated(two_models.store, stranger, of_two_models, other_models=[str(two_models.tuned)])
    with pytest.raises(SpecError, match=r"^other_models: .*was given already"):
        evaluated(two_models.store, two_models.base, of_two_models, other_models=[str(two_models.base)])
    with pytest.raises(SpecError, match=r"^other_models: .*nowhere.*config.json"):
        evaluated(two_models.store, two_models.base, of_two_models, other_models=[str(tmp_path / "nowhere")])
    sites = [(site, WIDTH, "harvest", 1.0) for site in ("resid_post.0", "resid_post.1")]
    of_one = publish_encoder(
        two_models.store, "one", lossy(2 * WIDTH, centres_input=False), target_of("crosscoder", sites)
    )
    with pytest.raises(SpecError, match=r"^other_models: .*is of one model"):
        evaluated(two_models.store, two_models.base, of_one, other_models=[str(two_models.tuned)])


def test_targets_that_are_no_places_in_models_are_refused(two_models: TwoModels) -> None:
    encoder = lossy(2 * WIDTH, centres_input=False)

    def crosscoder(name: str, *sites: tuple[str, int, str | None, float]) -> str:
        return publish_encoder(two_models.store, name, encoder, target_of("crosscoder", sites))  # type: ignore[arg-type]

    twice = crosscoder(
        "twice", ("resid_post.1", WIDTH, "harvest", 1.0), ("resid_post.1", WIDTH, "again", 1.0)
    )
    with pytest.raises(SpecError, match="one site of one model twice"):
        evaluated(two_models.store, two_models.base, twice)
    homeless = crosscoder("homeless", ("resid_post.1", WIDTH, None, 1.0), ("resid_post.0", WIDTH, None, 1.0))
    with pytest.raises(SpecError, match="imported without a harvest"):
        evaluated(two_models.store, two_models.base, homeless)
    elsewhere = crosscoder(
        "elsewhere", ("image.1", WIDTH, "harvest", 1.0), ("image.0", WIDTH, "harvest", 1.0)
    )
    with pytest.raises(SpecError, match=r"resid_post.LAYER"):
        evaluated(two_models.store, two_models.base, elsewhere)
