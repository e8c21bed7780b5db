"""What a run has paid for so far, finished or not."""

from thresher.contracts import paths
from thresher.contracts.ids import sha256_hex
from thresher.contracts.manifests import LabelManifest, Record
from thresher.labeling.budget.prices import Usage
from thresher.labeling.ledger.log import AnswerLog
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record, read_record, record_bytes


class ShelfRecord(Record):
    """Written into a run's folder before anything is asked: where its answers go."""

    shelf: str


def write_shelf(store: ObjectStore, artifact: str, shelf: str) -> None:
    key = f"{artifact}/shelves/{sha256_hex(shelf.encode())[:16]}.json"
    store.put(key, record_bytes(ShelfRecord(shelf=shelf)))


def num_tokens_paid(store: ObjectStore, artifact: str, run_id: str) -> int:
    """Tokens of the answers that the run asked for, in all its attempts."""
    manifest = find_record(store, paths.manifest(artifact), LabelManifest)
    if manifest is not None:
        return sum(part.num_tokens_paid for part in manifest.usage.values())
    shelves = [read_record(store, info.key, ShelfRecord).shelf for info in store.list(f"{artifact}/shelves/")]
    logs = [AnswerLog(store, shelf, run_id, own_only=True) for shelf in shelves]
    return sum((sum(log.paid.values(), Usage()) for log in logs), Usage()).num_tokens
