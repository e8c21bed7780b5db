"""What happened after labels were published: stored beside the artifacts first, then ingested."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy import Connection, select

from thresher.catalog.current import RETRACTION, move_pointers
from thresher.catalog.database import Catalog
from thresher.catalog.insert import insert_same
from thresher.catalog.tables import events, labels
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import NightlyManifest, Record
from thresher.storage import ObjectStore
from thresher.storage.artifacts import create_record

NIGHT = "nightly"
NIGHT_DETAILS = {
    "outcome",
    "needs_found",
    "needs_left",
    "states",
    "num_changed",
    "num_tokens_paid",
    "started_at",
}
"""What of a night's manifest its event tells."""


class LabelEvent(Record):
    """Something that happened to one label. The label itself stays as it was written."""

    event_id: str
    kind: Literal["retraction"]
    run_id: str
    label_id: str
    reason: str
    author: str
    created_at: datetime


class NightEvent(Record):
    """A night of labelling ended."""

    event_id: str
    kind: Literal["nightly"]
    night_id: str
    details: dict[str, Any]
    """NIGHT_DETAILS of its manifest."""
    reason: str
    """Its outcome, in words."""
    author: str
    created_at: datetime
    """When it ended."""


StoredEvent = Annotated[LabelEvent | NightEvent, Field(discriminator="kind")]
EVENT: TypeAdapter[LabelEvent | NightEvent] = TypeAdapter(StoredEvent)


def stored_events(store: ObjectStore) -> Iterator[LabelEvent | NightEvent]:
    """Every event in the store, in the order of their ids.

    Raises:
        IntegrityError: one is damaged.
    """
    for info in store.list("events/"):
        if info.key.endswith(".json"):
            try:
                yield EVENT.validate_json(store.get(info.key))
            except ValidationError as error:
                raise IntegrityError(f"{store.url}/{info.key} is truncated or of another format.") from error


def record_night(store: ObjectStore, manifest: NightlyManifest) -> NightEvent:
    """Put the event of a night beside the artifacts; what is there already holds."""
    event = NightEvent(
        event_id=content_id("event", {"event": NIGHT, "night_id": manifest.night_id}),
        kind=NIGHT,
        night_id=manifest.night_id,
        details=manifest.model_dump(mode="json", include=NIGHT_DETAILS),
        reason=manifest.fault or manifest.outcome,
        author="nightly",
        created_at=manifest.ended_at,
    )
    return create_record(store, paths.event(event.event_id), event)


def retract(
    catalog: Catalog,
    store: ObjectStore,
    run_id: str,
    label_id: str,
    *,
    reason: str,
    author: str,
    at: datetime,
) -> LabelEvent:
    """Take a label back: it is kept, and is never again a feature's current label.

    Retracting twice changes nothing: the first reason, author and time (`at`, with its zone) are what holds.

    Raises:
        SpecError: the catalog has no such label.
    """
    with catalog.read() as connection:
        if _dictionary_of(connection, run_id, label_id) is None:
            raise SpecError(
                "label", f"{run_id}/{label_id}", mend="Give a run and a label that were ingested."
            )
    event_id = content_id("event", {"event": RETRACTION, "run_id": run_id, "label_id": label_id})
    event = LabelEvent(
        event_id=event_id,
        kind=RETRACTION,
        run_id=run_id,
        label_id=label_id,
        reason=reason,
        author=author,
        created_at=at,
    )
    stored = create_record(store, paths.event(event_id), event)
    with catalog.write() as connection:
        write_event(connection, stored)
    return stored


def write_event(connection: Connection, event: LabelEvent | NightEvent) -> None:
    """Put an event into the catalog and let it take effect; one that is there already changes nothing."""
    insert_same(connection, events, event.model_dump())
    if isinstance(event, NightEvent):
        return
    dictionary = _dictionary_of(connection, event.run_id, event.label_id)
    if dictionary is not None:
        move_pointers(connection, dictionary, event.run_id)


def _dictionary_of(connection: Connection, run_id: str, label_id: str) -> str | None:
    return connection.scalar(
        select(labels.c.dictionary).where(labels.c.run_id == run_id, labels.c.label_id == label_id)
    )
