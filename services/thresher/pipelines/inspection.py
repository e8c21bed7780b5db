"""What the command shows of artifacts and of the catalog."""

from collections.abc import Iterator
from pathlib import Path

from thresher.catalog import open_catalog
from thresher.catalog.search import search
from thresher.catalog.views import Feature, Label
from thresher.contracts.errors import SpecError
from thresher.pipelines.cataloguing import catalog_url
from thresher.release.folder import verify_folder
from thresher.release.verify import verify
from thresher.storage import open_store


def verify_anywhere(artifact: str, root: str | None) -> list[str]:
    """The bad files of a pulled folder, if there is one of that path, else of an artifact under the root."""
    if (Path(artifact) / "manifest.json").is_file():
        return verify_folder(Path(artifact))
    if root is None:
        raise SpecError("root", root, mend="Give --root or THRESHER_ROOT, or the path of a pulled folder.")
    return verify(open_store(root), artifact)


def search_lines(query: str, dictionary: str | None, limit: int, url: str | None) -> Iterator[str]:
    """One line a feature found, best match first."""
    catalog = open_catalog(url or catalog_url())
    try:
        page = search(catalog, query, dictionary=dictionary, limit=limit)
    finally:
        catalog.close()
    for feature in page.features:
        yield _line(feature)
    yield f"{page.total} found"


def _line(feature: Feature) -> str:
    label = feature.label
    assert label is not None, "a search finds labels"
    scores = ", ".join(_scores(label))
    return (
        f"{feature.dictionary} {feature.feature:>6}  {label.text}  ({scores}; density {feature.density:.2%})"
    )


def _scores(label: Label) -> Iterator[str]:
    for score in label.scores:
        if not score.shuffled and score.value is not None:
            interval = "" if score.ci_low is None else f" [{score.ci_low:.2f}, {score.ci_high:.2f}]"
            yield f"{score.score_type} {score.value:.2f}{interval}"
