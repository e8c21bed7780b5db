"""The passes over the sources: one to deal documents, then mostly one to tokenise those that are used.

Whole sources may be far larger than memory, and far larger than the corpus. So the first pass keeps a few bytes a
document; the next one tokenises, in the order of the sources, the documents that the quotas should need, and spills
token ids to local disk, where packing finds them in any order. Tokens that turn out longer than supposed cost one
more pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.contracts.errors import SpecError
from thresher.corpus.dealing import Deal, Dealer
from thresher.corpus.document import Document
from thresher.corpus.quotas import NOT_READ, Quotas
from thresher.corpus.sources.files import Advance
from thresher.corpus.sources.read import DocumentFile, read_documents
from thresher.corpus.spill import Spill
from thresher.corpus.tokenise import Tokeniser
from thresher.runtime.progress import progress

SUPPOSED_BYTES_PER_TOKEN = 5.0
BATCH_DOCUMENTS, BATCH_BYTES = 256, 4 << 20

Sources = list[list[DocumentFile]]
"""The files of each source."""


@dataclass(frozen=True)
class SpilledDocuments:
    num_tokens_D: npt.NDArray[np.int64]
    """NOT_READ where no quota needs the document."""
    rows_D: npt.NDArray[np.int64]
    """Where each lies in the spill."""


def deal_documents(sources: Sources, dealer: Dealer) -> Deal:
    """Read everything once.

    Raises:
        SpecError: a file or a record of it cannot be read, or two documents share an id.
    """
    with progress("reading", sum(file.size for files in sources for file in files), "bytes") as meter:
        for source, document in _documents(sources, meter.advance):
            dealer.add(source, document)
    return dealer.deal()


def spill_documents(
    sources: Sources, dealer: Dealer, deal: Deal, quotas: Quotas, tokeniser: Tokeniser, spill: Spill
) -> SpilledDocuments:
    """Tokenise what the quotas need, and seal the spill.

    Raises:
        SpecError: a source is not what it was when it was dealt, or a conversation cannot be rendered.
    """
    spilled = SpilledDocuments(np.full(len(deal), NOT_READ, np.int64), np.zeros(len(deal), np.int64))
    bytes_per_token = SUPPOSED_BYTES_PER_TOKEN
    while (wanted_D := quotas.wanted(spilled.num_tokens_D, bytes_per_token)).any():
        with progress("tokenising", int(wanted_D.sum()), "documents") as meter:
            for indices, documents in _batches(_chosen(sources, dealer, deal, wanted_D)):
                tokenised = tokeniser.tokenise(documents)
                rows = spill.write([document.doc_id for document in documents], tokenised)
                spilled.num_tokens_D[indices] = [len(item.token_ids) for item in tokenised]
                spilled.rows_D[indices] = rows
                meter.advance(len(documents))
        bytes_per_token *= 2
    spill.seal()
    return spilled


def _documents(sources: Sources, advance: Advance) -> Iterator[tuple[int, Document]]:
    for source, files in enumerate(sources):
        for file in files:
            for document in read_documents(file, advance):
                yield source, document


def _chosen(
    sources: Sources, dealer: Dealer, deal: Deal, wanted_D: npt.NDArray[np.bool_]
) -> Iterator[tuple[int, Document]]:
    """The wanted documents as they arrive, with their index in the deal."""
    indices = np.flatnonzero(wanted_D)
    indices = indices[np.argsort(deal.arrivals_D[indices])]
    arrivals = iter(deal.arrivals_D[indices].tolist())
    due = next(arrivals)
    num_found = 0
    for arrival, (source, document) in enumerate(_documents(sources, lambda num_bytes: None)):
        if arrival == due:
            index = int(indices[num_found])
            place = deal.places_D[index]
            if place["source"] != source or not dealer.is_same(place, document):
                raise _changed(document.where)
            yield index, document
            num_found += 1
            if (due := next(arrivals, None)) is None:
                return
    raise _changed(f"{len(indices) - num_found} documents")


def _changed(what: str) -> SpecError:
    return SpecError(
        "sources", what, mend="It changed while the corpus was built: leave sources alone and build again."
    )


def _batches(chosen: Iterator[tuple[int, Document]]) -> Iterator[tuple[list[int], list[Document]]]:
    indices: list[int] = []
    documents: list[Document] = []
    num_bytes = 0
    for index, document in chosen:
        indices.append(index)
        documents.append(document)
        num_bytes += len(document.content) if isinstance(document.content, str) else BATCH_BYTES // 64
        if len(documents) == BATCH_DOCUMENTS or num_bytes >= BATCH_BYTES:
            yield indices, documents
            indices, documents, num_bytes = [], [], 0
    if documents:
        yield indices, documents
