"""Whole nights against the scripted server: what is found, done, left and reported."""

from datetime import UTC, datetime, timedelta

import pytest

from fixtures.exemplars import NAME, RULES, VERSION, write_features
from fixtures.label_runs import read_rows
from fixtures.nights import PLANTED_KEY, RememberingCommitter, copy_features
from thresher.catalog.events import LabelEvent, NightEvent, stored_events
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import sha256_hex
from thresher.contracts.manifests import FeaturesManifest, LabelManifest, NightlyManifest
from thresher.labeling.nightly.report import NightReport
from thresher.labeling.nightly.run import nightly
from thresher.labeling.nightly.spec import NightlySpec
from thresher.labeling.nightly.survey import survey
from thresher.labeling.run import label
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import create_record, read_record, record_bytes

pytestmark = pytest.mark.slow

REFERENCE = f"{NAME}@{VERSION}"


@pytest.fixture
def committer() -> RememberingCommitter:
    return RememberingCommitter()


def report_of(store, manifest: NightlyManifest) -> NightReport:
    data = store.get(manifest.report.key)
    assert sha256_hex(data) == manifest.report.sha256
    return NightReport.model_validate_json(data)


def found(store, spec: NightlySpec) -> dict[int, str]:
    """Kind of need, by feature of the planted dictionary."""
    needs = survey(store, spec).needs
    return {need.feature: need.kind for need in needs if need.dictionary == REFERENCE}


def test_a_new_dictionary_is_labelled_and_the_next_night_has_nothing_to_do(
    planted_store, nightly_spec, committer, scripted_llm
) -> None:
    spec = nightly_spec()
    assert found(planted_store, spec) == dict.fromkeys(RULES, "new_dictionary")
    manifest = nightly(spec, committer)

    assert manifest.outcome == "complete"
    assert manifest.states == {"ok": 4}
    assert (manifest.needs_found, manifest.needs_left) == ({"new_dictionary": 4}, {})
    assert [batch.outcome for batch in manifest.batches] == ["published"]
    assert committer.nights == [manifest.night_id]
    assert set(committer.runs) == {manifest.batches[0].run_id}
    assert manifest.num_tokens_paid == manifest.batches[0].num_tokens_paid > 0
    assert (
        read_record(planted_store, paths.manifest(paths.nightly(manifest.night_id)), NightlyManifest)
        == manifest
    )

    num_requests = len(scripted_llm.requests)
    again = nightly(spec, committer)
    assert (again.batches, again.num_changed, again.outcome) == ([], 0, "complete")
    assert again.night_id == f"{manifest.night_id}-2"
    assert len(scripted_llm.requests) == num_requests


def test_the_report_says_what_changed_and_what_is_best(planted_store, nightly_spec, committer) -> None:
    manifest = nightly(nightly_spec(num_shown=2), committer)
    report = report_of(planted_store, manifest)
    assert report.num_changed == 4
    assert [change.before for change in report.changes] == [None, None]
    lifts = [item.lift for item in report.best]
    assert lifts == sorted(lifts, reverse=True)
    assert report.best[0].text in {rule.name for rule in RULES.values()}
    assert report.worst[0].lift <= report.best[0].lift
    text = planted_store.get(manifest.text.key).decode()
    assert text.startswith(f"# Night {manifest.night_id}\n")
    assert "| planted@1 | " in text


def test_labels_cannot_write_markup_into_the_report(
    planted_store, nightly_spec, committer, scripted_llm
) -> None:
    scripted_llm.explanation = "<script>alert(1)</script> | [x](http://evil) `code`"
    manifest = nightly(nightly_spec(), committer)
    text = planted_store.get(manifest.text.key).decode()
    assert "<script" not in text
    assert "[x](" not in text
    columns = {line.count(" | ") for line in text.splitlines() if line.startswith("| planted@1")}
    assert columns == {4, 5}, "a bar in a label opens no column"


def test_the_event_tells_of_the_night(planted_store, nightly_spec, committer) -> None:
    manifest = nightly(nightly_spec(), committer)
    [event] = list(stored_events(planted_store))
    assert isinstance(event, NightEvent)
    assert (event.night_id, event.created_at) == (manifest.night_id, manifest.ended_at)
    assert event.details["states"] == {"ok": 4}


def test_the_most_valuable_come_first_and_what_does_not_fit_is_left(
    planted_store, nightly_spec, committer
) -> None:
    whole = nightly(nightly_spec(root=copy_root(planted_store)), committer)
    a_feature = whole.batches[0].estimated_tokens / 4
    spec = nightly_spec(windows={"max_tokens": int(2.5 * a_feature)})
    manifest = nightly(spec, committer)

    [batch] = manifest.batches
    assert (manifest.outcome, batch.num_features) == ("budget", 2)
    run = read_record(
        planted_store, paths.manifest(paths.label_run(NAME, VERSION, batch.run_id)), LabelManifest
    )
    densest = sorted(RULES)[-2:]  # density grows with the number of a planted latent
    assert [row["feature"] for row in read_rows(planted_store, run.labels)] == densest
    assert manifest.num_tokens_paid <= 2.5 * a_feature
    report = report_of(planted_store, manifest)
    assert list(report.left_because.values()) == [2]
    assert manifest.needs_left == {"unlabelled": 2}


def copy_root(store: ObjectStore) -> str:
    """The planted store once more, elsewhere."""
    other = open_store(f"{store.url}-whole")
    write_features(other)
    return other.url


def test_nothing_is_begun_that_the_budget_cannot_pay(
    planted_store, nightly_spec, committer, scripted_llm
) -> None:
    manifest = nightly(nightly_spec(windows={"max_tokens": 10}), committer)
    assert (manifest.outcome, manifest.batches, manifest.num_tokens_paid) == ("budget", [], 0)
    assert scripted_llm.requests == []


def test_the_window_ends_a_batch_and_keeps_its_answers(
    planted_store, nightly_spec, committer, scripted_llm
) -> None:
    scripted_llm.delay_s = 0.1
    spec = nightly_spec(windows={"max_wall_s": 2.0}, label={"endpoint": {"concurrency": 2}})
    manifest = nightly(spec, committer)
    assert manifest.outcome == "time"
    [batch] = manifest.batches
    assert (batch.outcome, batch.run_id) == ("stopped", None)
    assert batch.num_tokens_paid > 0
    assert report_of(planted_store, manifest).left_because == {"the time window closed": 4}

    scripted_llm.delay_s = 0
    before = len(scripted_llm.requests)
    whole = nightly(nightly_spec(label={"endpoint": {"concurrency": 2}}), committer)
    run = read_record(
        planted_store, paths.manifest(paths.label_run(NAME, VERSION, whole.batches[0].run_id)), LabelManifest
    )
    assert whole.states == {"ok": 4}
    num_probes = 2
    assert len(scripted_llm.requests) - before - num_probes < run.num_calls, (
        "stored answers are not paid again"
    )


def test_a_closed_window_begins_nothing(planted_store, nightly_spec, committer, scripted_llm) -> None:
    clock = iter([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(50)])
    manifest = nightly(nightly_spec(windows={"max_wall_s": 60}), committer, lambda: next(clock))
    assert (manifest.outcome, manifest.batches) == ("time", [])
    assert scripted_llm.requests == []


@pytest.mark.parametrize(
    ("answer", "state", "num_nights"), [("I cannot help with that.", "refused", 3), ("...", "unparsable", 3)]
)
def test_refusals_are_tried_again_with_other_seeds_but_not_for_ever(
    planted_store, nightly_spec, committer, scripted_llm, answer, state, num_nights
) -> None:
    scripted_llm.explanation = answer
    spec = nightly_spec(retry={"explainer": {"temperature": 0.7}})
    for _ in range(num_nights):
        assert nightly(spec, committer).states == {state: 4}
    last = nightly(spec, committer)
    assert last.batches == []
    assert report_of(planted_store, last).given_up == {state: 4}
    asked = [body for body in scripted_llm.requests if "messages" in body]
    assert {(body["seed"], body["temperature"]) for body in asked} == {(0, 0.0), (1, 0.7), (2, 0.7)}


def test_a_failed_request_is_tried_again_the_next_night(
    planted_store, nightly_spec, committer, scripted_llm
) -> None:
    spec = nightly_spec()
    scripted_llm.refuse_chat = True
    assert nightly(spec, committer).states == {"api_error": 4}
    assert set(found(planted_store, spec).values()) == {"failed"}
    scripted_llm.refuse_chat = False
    assert nightly(spec, committer).states == {"ok": 4}


def test_an_endpoint_that_is_down_is_a_reported_fault(planted_store, nightly_spec, committer) -> None:
    spec = nightly_spec(label={"endpoint": {"base_url": "http://127.0.0.1:9/v1", "max_retries": 0}})
    manifest = nightly(spec, committer)
    assert manifest.outcome == "fault"
    assert "cannot be reached" in manifest.fault
    assert manifest.batches[0].outcome == "failed"
    assert list(report_of(planted_store, manifest).left_because.values()) == [4]


def test_low_labels_are_made_again_and_good_ones_left(
    planted_store, nightly_spec, committer, scripted_llm
) -> None:
    spec = nightly_spec()
    scripted_llm.explanation = "words about the sea"  # true of one latent
    nightly(spec, committer)
    [sea] = [latent for latent, rule in RULES.items() if rule.name == "words about the sea"]
    # With one label for all, shuffled labels are as good: no lift, not even for the true one.
    assert found(planted_store, spec) == dict.fromkeys(RULES, "low_lift")
    scripted_llm.explanation = None
    manifest = nightly(spec, committer)
    assert manifest.states == {"ok": 4}
    assert found(planted_store, spec) == {}
    changed = {change.after.feature for change in report_of(planted_store, manifest).changes}
    assert changed == set(RULES)
    assert sea in changed


def test_drift_of_density_and_tokens_over_another_corpus(planted_store, nightly_spec, committer) -> None:
    spec = nightly_spec()
    nightly(spec, committer)

    def change(row):
        if row["feature"] == 3:
            row["density"] *= 4
        if row["feature"] == 5:
            row["top_tokens"] = ["quite", "other", "words"]
        if row["feature"] == 8:
            row["density"] *= 2
        return row

    copy_features(planted_store, corpus="d" * 16, change=change)
    needs = {need.feature: need for need in survey(planted_store, spec).needs}
    assert {feature: need.kind for feature, need in needs.items()} == {3: "drifted", 5: "drifted"}
    assert "density" in needs[3].reason
    assert "overlap 0.00" in needs[5].reason
    manifest = nightly(spec, committer)
    assert [batch.corpus for batch in manifest.batches] == ["d" * 16]
    assert manifest.states == {"ok": 2}
    assert found(planted_store, spec) == {}


def test_tokens_say_nothing_of_a_feature_that_fires_on_anything(
    planted_store, nightly_spec, committer
) -> None:
    spec = nightly_spec()

    def scattered(row):
        return row | {"top_tokens": ["never", "seen", "twice"]}

    before = copy_features(planted_store, name="other", change=scattered)
    nightly(nightly_spec(dictionaries=["other@*"]), committer)
    copy_features(
        planted_store, name="other", corpus="d" * 16, change=lambda row: row | {"top_tokens": ["new", "ones"]}
    )
    assert before.corpus_id != "d" * 16
    needs = survey(planted_store, spec.model_copy(update={"dictionaries": ("other@*",)})).needs
    assert needs == [], "its strongest tokens in the report split are others as well"


def test_other_weights_under_the_same_name_make_every_label_old(
    planted_store, nightly_spec, committer
) -> None:
    spec = nightly_spec()
    nightly(spec, committer)
    planted = read_record(planted_store, PLANTED_KEY, FeaturesManifest)
    ref = planted.dictionary.model_copy(update={"weights_sha256": "1" * 64})
    planted_store.put(PLANTED_KEY, record_bytes(planted.model_copy(update={"dictionary": ref})))
    assert found(planted_store, spec) == dict.fromkeys(RULES, "drifted")


def test_a_label_that_was_retracted_is_missing(planted_store, nightly_spec, committer) -> None:
    spec = nightly_spec()
    manifest = nightly(spec, committer)
    run = read_record(
        planted_store,
        paths.manifest(paths.label_run(NAME, VERSION, manifest.batches[0].run_id)),
        LabelManifest,
    )
    row = read_rows(planted_store, run.labels)[0]
    event = LabelEvent(
        event_id="e" * 16,
        kind="retraction",
        run_id=run.run_id,
        label_id=row["label_id"],
        reason="wrong",
        author="a",
        created_at=datetime.now(UTC),
    )
    create_record(planted_store, paths.event(event.event_id), event)
    assert found(planted_store, spec) == {row["feature"]: "unlabelled"}


def test_only_dictionaries_of_the_patterns_are_worked_on(planted_store, nightly_spec, committer) -> None:
    copy_features(planted_store, name="other", version="2")
    manifest = nightly(nightly_spec(dictionaries=["oth*@*"]), committer)
    assert {batch.dictionary for batch in manifest.batches} == {"other@2"}


def test_a_damaged_dictionary_does_not_stop_the_others(planted_store, nightly_spec, committer) -> None:
    copied = copy_features(planted_store, name="damaged")
    planted_store.put(copied.stats.key, b"not parquet")
    manifest = nightly(nightly_spec(), committer)
    assert manifest.states == {"ok": 4}
    assert "damaged@1" in report_of(planted_store, manifest).faults


def test_a_run_made_by_hand_counts(planted_store, nightly_spec, label_spec, committer) -> None:
    label(label_spec(features={"selection": [3, 5, 8]}))
    assert found(planted_store, nightly_spec()) == {9: "unlabelled"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"label": {"dictionary": "d@1"}}, "label.dictionary"),
        ({"label": {"features": {"count": 3}}}, "label.features"),
        ({"retry": {"root": "file:///x"}}, "retry.root"),
    ],
)
def test_what_the_night_sets_is_refused_in_the_template(nightly_spec, changes, field) -> None:
    good = nightly_spec().model_dump(mode="json")
    for name, template in changes.items():
        good[name] = {**good[name], **template}
    with pytest.raises(SpecError) as caught:
        NightlySpec.parse(good)
    assert caught.value.field == field
