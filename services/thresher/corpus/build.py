"""Build a corpus: read, deal, tokenise, pack, write."""

import thresher
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import SPLITS, CorpusManifest
from thresher.corpus.chat.template import ChatTemplate
from thresher.corpus.dealing import Deal, Dealer
from thresher.corpus.packed_splits import PackedSplits
from thresher.corpus.quotas import Quotas
from thresher.corpus.reading import Sources, deal_documents, spill_documents
from thresher.corpus.sources.read import open_source
from thresher.corpus.spec import CorpusSpec
from thresher.corpus.spill import Spill
from thresher.corpus.tokenise import Tokeniser, load_tokenizer, special_token_ids, token_id
from thresher.corpus.tokenised import RoleNames
from thresher.corpus.write import WrittenSequences, write_sequences
from thresher.runtime.model_identity import tokenizer_sha256
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, publish_manifest, record_bytes


def build_corpus(spec: CorpusSpec) -> CorpusManifest:
    """Make a corpus, or find it made.

    Sources are streamed twice or more (see `reading.py`), since their content is part of the id.

    Raises:
        SpecError: a source, field, token or chat template cannot be used; the text does not fill one sequence of a
            split. Nothing is stored then.
    """
    return _Build(spec).run()


class _Build:
    """A spec, checked as far as it can be before the sources are read."""

    def __init__(self, spec: CorpusSpec) -> None:
        self._spec = spec
        self._tokenizer_sha256 = tokenizer_sha256("tokenizer", spec.tokenizer)
        self._tokenizer = load_tokenizer(spec.tokenizer)
        self._bos_token_id = token_id(self._tokenizer, "bos_token", spec.bos_token)
        self._separator_token_id = token_id(self._tokenizer, "separator_token", spec.separator_token)
        self._template = ChatTemplate(spec.tokenizer, spec.chat) if spec.holds_conversations else None
        self._sources: Sources = [open_source(source) for source in spec.sources]

    def run(self) -> CorpusManifest:
        store = open_store(self._spec.root)
        dealer = Dealer(self._spec.splits, self._spec.seed)
        deal = deal_documents(self._sources, dealer)
        corpus_id = self._corpus_id(deal)
        artifact = paths.corpus(corpus_id)
        found = find_record(store, paths.manifest(artifact), CorpusManifest)
        if found is not None:
            return found
        roles = RoleNames()
        tokeniser = Tokeniser(self._spec, self._template, roles)
        quotas = Quotas(self._spec, deal)
        with Spill() as spill:
            spilled = spill_documents(self._sources, dealer, deal, quotas, tokeniser, spill)
            packed = PackedSplits(
                self._spec, self._bos_token_id, self._separator_token_id, deal, quotas, spilled, spill
            )
            packed.check_filled()
            written = self._write(store, artifact, packed, roles)
        return publish_manifest(store, artifact, self._manifest(corpus_id, written))

    def _corpus_id(self, deal: Deal) -> str:
        return content_id(
            "corpus",
            {
                "spec": self._spec.content_identity(),
                "tokenizer": self._tokenizer_sha256,
                "chat_template": self._template and self._template.sha256,
                "documents": deal.sha256(),
                "code_version": thresher.__version__,
            },
        )

    def _write(
        self, store: ObjectStore, artifact: str, packed: PackedSplits, roles: RoleNames
    ) -> WrittenSequences:
        store.put(paths.spec(artifact), record_bytes(self._spec))
        sequences = ((split, sequence) for split in SPLITS for sequence in packed.sequences(split))
        return write_sequences(store, artifact, sequences, roles)

    def _manifest(self, corpus_id: str, written: WrittenSequences) -> CorpusManifest:
        num_sequences = sum(written.num_sequences.values())
        return CorpusManifest(
            corpus_id=corpus_id,
            spec=self._spec.identity(),
            tokenizer_sha256=self._tokenizer_sha256,
            chat_template_sha256=self._template and self._template.sha256,
            sequence_length=self._spec.sequence_length,
            bos_token_id=self._bos_token_id,
            separator_token_id=self._separator_token_id,
            special_token_ids=special_token_ids(self._tokenizer),
            roles=sorted(written.roles),
            num_documents=written.num_documents,
            num_sequences=num_sequences,
            num_tokens=num_sequences * self._spec.sequence_length,
            splits=written.splits(),
            files=written.files,
        )
