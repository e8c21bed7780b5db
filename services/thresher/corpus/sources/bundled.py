"""Real text that installed packages carry."""

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from thresher.corpus.document import Document
from thresher.corpus.source_spec import BundledSource
from thresher.runtime.local.bundled import wikipedia_summaries

NO_TEXT = {"site-packages", "test", "tests", "idlelib"}


def bundled_files(source: BundledSource) -> list[Path]:
    if source.name == "wikipedia_summaries":
        return [wikipedia_summaries()]
    folder = Path(sysconfig.get_path("stdlib"))
    return [
        file for file in sorted(folder.rglob("*.py")) if not NO_TEXT & set(file.relative_to(folder).parts)
    ]


def read_bundled(source: BundledSource, file: Path) -> Iterator[Document]:
    """The documents of one of those files."""
    if source.name == "wikipedia_summaries":
        for title, summary in sorted(json.loads(file.read_text(encoding="utf-8")).items()):
            yield Document(f"{source.id_prefix}wikipedia/{title}", summary["extract"], f"{file}: {title}")
        return
    name = file.relative_to(sysconfig.get_path("stdlib")).as_posix()
    text = file.read_text(encoding="utf-8", errors="replace")
    yield Document(f"{source.id_prefix}python/{name}", text, str(file))
