"""The nightly: claim the fence, go on with an interrupted night or begin one, work, report, commit once."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import thresher
from thresher.catalog.events import record_night
from thresher.contracts import paths
from thresher.contracts.errors import ThresherError
from thresher.contracts.manifests import FamiliesManifest, LabelManifest, NightlyManifest, NightOutcome
from thresher.contracts.names import parse_reference
from thresher.labeling.families.run import families
from thresher.labeling.families.spec import FamiliesSpec
from thresher.labeling.nightly.fence import Fence, hold
from thresher.labeling.nightly.journal import FENCE_NAME, Begun, Ended, Journal, Night, Settled
from thresher.labeling.nightly.markdown import markdown
from thresher.labeling.nightly.night import Committer, NightWork
from thresher.labeling.nightly.report import NightReport, build_report
from thresher.labeling.nightly.spec import NightlySpec
from thresher.labeling.nightly.survey import survey
from thresher.labeling.nightly.windows import deadline
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import create_record, put_hashed_file, read_record, record_bytes

logger = logging.getLogger(__name__)

INTERRUPTED = "interrupted, and not gone on with before its window closed"


def utc_now() -> datetime:
    return datetime.now(UTC)


def nightly(
    spec: NightlySpec, committer: Committer, now: Callable[[], datetime] = utc_now
) -> NightlyManifest:
    """Do a night's work, or finish the one that was interrupted; returns what it published.

    Everything is decided from the store; the committer (the catalog) follows it.

    Raises:
        FenceHeldError: another nightly works on this root.
        FenceLostError: another took over while this process did not answer; it committed nothing since.
        StoreError: the store cannot be reached, or does not keep conditional writes.
    """
    store = open_store(spec.root)
    with hold(store, FENCE_NAME, spec.lease_s) as fence:
        return _Nightly(store, spec, fence, committer, now).run()


class _Nightly:
    """One holder's turn."""

    def __init__(
        self,
        store: ObjectStore,
        spec: NightlySpec,
        fence: Fence,
        committer: Committer,
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._spec, self._fence = store, spec, fence
        self._committer, self._now = committer, now
        self._journal = Journal(fence)

    def run(self) -> NightlyManifest:
        last = self._journal.night
        if last is not None and last.ended is not None:
            self._publish(last.ended.manifest)  # nothing, unless its holder was killed right after the commit
        elif last is not None and not self._can_go_on(last):
            self._close(last)
        night = self._journal.night
        if night is None or night.ended is not None:
            self._begin()
        return self._work()

    def _can_go_on(self, night: Night) -> bool:
        end = night.begun.deadline
        return night.begun.identity_id == self._spec.identity_id and (end is None or self._now() < end)

    def _begin(self) -> Night:
        started_at = self._now()
        begun = Begun(
            night_id=self._free_id(started_at),
            identity_id=self._spec.identity_id,
            spec=self._spec.identity(),
            started_at=started_at,
            deadline=deadline(self._spec.windows, started_at),
        )
        return self._journal.begin(begun)

    def _free_id(self, started_at: datetime) -> str:
        date = f"{started_at:%Y-%m-%d}"
        taken = {info.key.split("/")[1] for info in self._store.list(paths.nightly(date))}
        count = 1
        while (night_id := date if count == 1 else f"{date}-{count}") in taken:
            count += 1
        return night_id

    def _work(self) -> NightlyManifest:
        work = NightWork(self._store, self._spec, self._fence, self._journal, self._committer, self._now)
        found = survey(self._store, self._spec)
        logger.info("Night %s: %s", work.night.begun.night_id, found.num_by_kind() or "nothing to do")
        outcome, fault = work.work(found)
        return self._end(work.night, outcome, fault, work.left_because)

    def _close(self, night: Night) -> None:
        """End a night that nobody can go on with: its window closed, or it was of another spec."""
        if (batch := night.open_batch) is not None:
            self._journal.write(Settled(batch=batch.stopped(INTERRUPTED)))
        self._end(night, "time", INTERRUPTED, {})

    def _end(
        self, night: Night, outcome: NightOutcome, fault: str | None, left_because: dict[str, int]
    ) -> NightlyManifest:
        made, faults = self._families(night)
        report = build_report(
            self._spec,
            night,
            before=survey(self._store, self._spec, night.run_ids),
            after=survey(self._store, self._spec),
            left_because=left_because,
            ended_at=self._now(),
            outcome=outcome,
            fault=fault,
            families=made,
            faults=faults,
        )
        manifest = self._manifest(night, report)
        self._journal.write(Ended(manifest=manifest))
        return self._publish(manifest)

    def _families(self, night: Night) -> tuple[dict[str, FamiliesManifest], dict[str, str]]:
        """Of every dictionary that got labels; and what went wrong with one, which does not undo the night."""
        made: dict[str, FamiliesManifest] = {}
        faults: dict[str, str] = {}
        if self._spec.families is None:
            return made, faults
        labelled = {batch.dictionary for batch in night.settled.values() if batch.run_id is not None}
        for dictionary in sorted(labelled):
            options = dict(self._spec.families)
            try:
                made[dictionary] = families(
                    FamiliesSpec(root=self._spec.root, dictionary=dictionary, **options)
                )
            except ThresherError as error:
                faults[dictionary] = str(error)
        return made, faults

    def _manifest(self, night: Night, report: NightReport) -> NightlyManifest:
        stem = f"{paths.nightly(night.begun.night_id)}/report"
        shared = report.model_dump(include=set(NightlyManifest.model_fields))
        return NightlyManifest(
            **shared,
            spec=night.begun.spec,
            epochs=night.epochs,
            report=put_hashed_file(self._store, stem, ".json", record_bytes(report)),
            text=put_hashed_file(self._store, stem, ".md", markdown(report).encode()),
            code_version=thresher.__version__,
        )

    def _publish(self, manifest: NightlyManifest) -> NightlyManifest:
        """Publish what the journal says. All of it is derived from there: doing it twice changes nothing."""
        self._fence.check()
        create_record(self._store, paths.manifest(paths.nightly(manifest.night_id)), manifest)
        record_night(self._store, manifest)
        for batch in manifest.batches:
            if batch.run_id is not None:
                self._committer.labels(self._label_manifest(batch.dictionary, batch.run_id))
        for dictionary, families_id in manifest.families.items():
            name, version = parse_reference("dictionary", dictionary)
            key = paths.manifest(paths.families(name, version, families_id))
            self._committer.families(read_record(self._store, key, FamiliesManifest))
        self._committer.night(manifest)
        return manifest

    def _label_manifest(self, dictionary: str, run_id: str) -> LabelManifest:
        name, version = parse_reference("dictionary", dictionary)
        key = paths.manifest(paths.label_run(name, version, run_id))
        return read_record(self._store, key, LabelManifest)
