"""The demo: the whole chain on a local stack, from text to a pulled, labelled dictionary."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from thresher.contracts.manifests import (
    CorpusManifest,
    DictionaryManifest,
    FeaturesManifest,
    HarvestManifest,
    LabelManifest,
    ReleaseManifest,
)
from thresher.corpus.build import build_corpus
from thresher.corpus.spec import CorpusSpec
from thresher.dictionary.fit import fit
from thresher.dictionary.spec import FitSpec
from thresher.harvest.coordinator import harvest
from thresher.harvest.spec import HarvestSpec
from thresher.labeling.spec import LabelSpec
from thresher.pipelines.cataloguing import (
    CATALOG_VARIABLE,
    catalogue_features,
    catalogue_labels,
    catalogue_release,
)
from thresher.pipelines.demo_report import print_means, print_table, wide_console
from thresher.pipelines.demo_servers import label_with_local_model, object_store
from thresher.pipelines.encode import EncodeSpec, encode
from thresher.pipelines.project_files import demo_spec
from thresher.release.publish import publish
from thresher.release.pull import pull
from thresher.release.spec import PublishSpec
from thresher.runtime.cpu_features import fast_dtype
from thresher.runtime.local.bundled import MODEL_NAME, prepare_model
from thresher.runtime.ray_cluster import disconnect

T = TypeVar("T")


@dataclass(frozen=True)
class DemoOptions:
    """What the command's options shape."""

    folder: Path
    """Where the local stack keeps data, credentials, logs and the catalog."""
    root: str | None
    """A store of the user's own instead of the local SeaweedFS."""
    num_tokens: int
    """Tokens of the corpus."""
    num_features: int
    """Features to label."""
    keep: bool
    """Leave the object store running at the end, for `thresher search` and `thresher pull`."""


@dataclass
class Stopwatch:
    """Announces each stage and remembers how long it took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.console.print(f"[bold]{name}[/bold]")
        start_s = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start_s

    def run(self, name: str, make: Callable[[], T], say: Callable[[T], str]) -> T:
        with self.stage(name):
            made = make()
        self.console.print(f"  {say(made)}  [dim]{self.seconds[name]:.1f} s[/dim]", highlight=False)
        return made

    def print_total(self) -> None:
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        self.console.print(f"Wall time: {parts}; in all {sum(self.seconds.values()):.0f} s", highlight=False)


def run_demo(options: DemoOptions) -> None:
    """Run what is missing of the chain, and show what it made. Everything started is stopped at the end."""
    watch = Stopwatch(wide_console())
    os.environ.setdefault(CATALOG_VARIABLE, f"sqlite:///{(options.folder / 'catalog.db').resolve()}")
    with ExitStack() as exits:
        exits.callback(disconnect)
        with watch.stage("stack"):
            root = exits.enter_context(object_store(options.folder, options.root, options.keep))
        with watch.stage("model"):
            model = prepare_model()
        Chain(options, watch, root, model).run()
    watch.print_total()


@dataclass(frozen=True)
class Chain:
    """The stages in order; each takes the ids of those before it."""

    options: DemoOptions
    watch: Stopwatch
    root: str
    model: Path

    def run(self) -> None:
        """From text to a pulled folder and the table of what is in it."""
        corpus = self._corpus()
        harvested = self._harvest(corpus)
        dictionary = self._fit(harvested)
        self._encode(corpus, dictionary)
        labels = self._label(corpus, dictionary)
        release = self._publish(corpus, dictionary, labels)
        pulled = self._pull(release)
        console = self.watch.console
        print_table(console, pulled)
        print_means(console, labels)
        console.print(f"Store {self.root}, catalog {os.environ[CATALOG_VARIABLE]}, pulled folder {pulled}")

    def _corpus(self) -> CorpusManifest:
        given = [f"root={self.root}", f"tokenizer={self.model}", f"max_tokens={self.options.num_tokens}"]
        return self.watch.run(
            "corpus",
            lambda: build_corpus(demo_spec("corpus", CorpusSpec, given)),
            lambda made: (
                f"{made.num_tokens:,} tokens of {made.num_documents:,} documents, corpus {made.corpus_id}"
            ),
        )

    def _harvest(self, corpus: CorpusManifest) -> HarvestManifest:
        given = [
            f"root={self.root}",
            f"model={self.model}",
            f"corpus={corpus.corpus_id}",
            f"dtype={fast_dtype()}",
        ]
        return self.watch.run(
            "harvest",
            lambda: harvest(demo_spec("harvest", HarvestSpec, given)),
            lambda made: (
                f"{made.num_rows:,} rows at each of {', '.join(made.sites)} in {len(made.shards)} shards, "
                f"harvest {made.harvest_id}"
            ),
        )

    def _fit(self, harvested: HarvestManifest) -> DictionaryManifest:
        given = [f"root={self.root}", f"harvest={harvested.harvest_id}"]
        return self.watch.run(
            "fit",
            lambda: fit(demo_spec("fit", FitSpec, given)),
            _fit_line,
        )

    def _encode(self, corpus: CorpusManifest, dictionary: DictionaryManifest) -> FeaturesManifest:
        given = [
            f"root={self.root}",
            f"model={self.model}",
            f"corpus={corpus.corpus_id}",
            f"dictionary={dictionary.ref()}",
            f"dtype={fast_dtype()}",
        ]
        made = self.watch.run(
            "encode",
            lambda: encode(demo_spec("encode", EncodeSpec, given)),
            lambda made: f"{sum(made.num_rows.values()):,} rows in sparse codes, features {made.features_id}",
        )
        catalogue_features(self.root, made)
        return made

    def _label(self, corpus: CorpusManifest, dictionary: DictionaryManifest) -> LabelManifest:
        given = [
            f"root={self.root}",
            f"corpus={corpus.corpus_id}",
            f"dictionary={dictionary.ref()}",
            f"tokenizer={self.model}",
            f"features.count={self.options.num_features}",
            f"endpoint.model={MODEL_NAME}",
        ]
        spec = demo_spec("label", LabelSpec, given)
        made = self.watch.run(
            "label",
            lambda: label_with_local_model(spec, self.model, self.options.folder),
            lambda made: (
                f"{made.num_features} features, states {made.states}, {made.num_calls:,} calls, "
                f"run {made.run_id}"
            ),
        )
        catalogue_labels(self.root, made)
        return made

    def _publish(
        self, corpus: CorpusManifest, dictionary: DictionaryManifest, labels: LabelManifest
    ) -> ReleaseManifest:
        given = [
            f"root={self.root}",
            f"dictionary={dictionary.ref()}",
            f"corpus={corpus.corpus_id}",
            f"label_run={labels.run_id}",
        ]
        made = self.watch.run(
            "publish",
            lambda: publish(demo_spec("publish", PublishSpec, given)),
            lambda made: f"release {made.name}@{made.version}, {len(made.files)} files",
        )
        catalogue_release(made)
        return made

    def _pull(self, release: ReleaseManifest) -> Path:
        name = f"{release.name}@{release.version}"
        return self.watch.run(
            "pull",
            lambda: pull(self.root, name, self.options.folder / "pulled" / name),
            lambda folder: f"{folder}, every checksum verified",
        )


def _fit_line(made: DictionaryManifest) -> str:
    metrics = made.metrics
    assert metrics is not None, "a fit measures what it made"
    return (
        f"{made.num_latents:,} latents, explained variance {metrics.explained_variance:.3f}, "
        f"L0 {metrics.l0:.1f} on {metrics.num_rows:,} held-out rows, dictionary {made.ref()}"
    )
