"""The README of a release: where it comes from, how good it is, how to open it."""

from collections.abc import Mapping, Sequence
from typing import Any

from thresher.contracts.manifests import DictionaryManifest, LabelManifest
from thresher.release.sources import Sources

SHUFFLED = ".shuffled"

TEMPLATE = """# {title}

A sparse dictionary of {num_latents:,} latents for `{site}` of {model} (width {d_in:,}), with statistics and exemplars
of every latent and labels of {num_features:,}.

## Reconstruction

{reconstruction}

## Labels

A label is worth what it scores above the baseline: the same contexts, scored with another feature's label.

{scores}

{states}

## Files

| file | content |
|---|---|
| cfg.json, sae_weights.safetensors | the dictionary, {format} |
| features.parquet | density, activation statistics and state of every latent |
| output_tokens.parquet | tokens that each latent promotes and suppresses; where they were computed |
| exemplars/part-*.parquet | contexts on which the latents are active, and on which they are not |
| labels.parquet | one row a label, with its state and provenance |
| scores.parquet | one row a score, with its confidence interval; `shuffled` marks the baseline |
| lineage/*.json | manifests of what the release was made from |
| manifest.json | size and sha256 of every file |

## Open

{open_dictionary}

    import pandas
    labels = pandas.read_parquet("FOLDER/labels.parquet")

    import duckdb
    duckdb.sql("select feature, text from 'FOLDER/labels.parquet' where state = 'ok'")

## Lineage

{lineage}
"""


OPEN_IN_SAELENS = """    from sae_lens import SAE
    dictionary = SAE.load_from_disk("FOLDER")"""
OPEN_OWN = """    from safetensors.numpy import load_file
    weights = load_file("FOLDER/sae_weights.safetensors")  # what they mean: docs/formats.md of thresher"""
OWN_ARCHITECTURE = "thresher_"
"""What the names of architectures begin with that SAELens does not have."""


def render_card(title: str, config: Mapping[str, Any], sources: Sources) -> str:
    """The card of a release, called `title`, of a dictionary with this cfg.json."""
    dictionary = sources.dictionary
    is_own = str(config.get("architecture")).startswith(OWN_ARCHITECTURE)
    return TEMPLATE.format(
        title=title,
        model=config.get("metadata", {}).get("model_name") or "unknown",
        format="in thresher's own format" if is_own else "as SAELens reads it",
        open_dictionary=OPEN_OWN if is_own else OPEN_IN_SAELENS,
        site=dictionary.site,
        num_latents=dictionary.num_latents,
        d_in=dictionary.d_in,
        num_features=sources.labels.num_features,
        reconstruction=_reconstruction(dictionary),
        scores=_scores(sources.labels),
        states=_table(("state", "labels"), sorted(sources.labels.states.items())),
        lineage=_table(("what", "id"), sorted(sources.lineage().items())),
    )


def _reconstruction(dictionary: DictionaryManifest) -> str:
    metrics = dictionary.metrics
    if metrics is None:
        return "It was imported, and not measured on rows of a harvest."
    table = _table(
        ("metric", "value"),
        [
            ("explained variance", f"{metrics.explained_variance:.4f}"),
            ("FVU", f"{metrics.fvu:.4f}"),
            ("L0", f"{metrics.l0:.2f}"),
            ("dead latents", f"{metrics.dead_fraction:.2%}"),
            ("rows trained on", _count(dictionary.num_training_rows)),
        ],
    )
    return f"Over {metrics.num_rows:,} held-out rows.\n\n{table}"


def _scores(labels: LabelManifest) -> str:
    means = labels.mean_scores
    kinds = sorted({kind.removesuffix(SHUFFLED) for kind in means})
    return _table(
        ("score", "mean", "shuffled labels", "scorer"),
        [
            (kind, _number(means.get(kind)), _number(means.get(kind + SHUFFLED)), _standing(labels, kind))
            for kind in kinds
        ],
    )


def _standing(labels: LabelManifest, kind: str) -> str:
    """Of the scorer behind a kind of score; scores made beside its main one bear its name first."""
    names = [name for name in labels.qualified if kind == name or kind.startswith(f"{name}_")]
    qualified = labels.qualified[max(names, key=len)] if names else None
    return {True: "qualified", False: "unqualified", None: "untried"}[qualified]


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines: list[tuple[object, ...]] = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
