"""Evidence that two features are the same: their decoder rows, and the windows that exemplify both.

Shapes: N features, E width of the decoder, X exemplar windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from thresher.contracts import paths
from thresher.contracts.exemplars import FIRING_KINDS
from thresher.contracts.manifests import DictionaryRef, FeaturesManifest
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet
from thresher.storage.read_file import open_input


@dataclass(frozen=True)
class FeatureEvidence:
    """Of N features, in the order of their labels."""

    decoder_NE: npt.NDArray[np.float32] | None
    """Rows of length 1 (0 where a row is 0); None where the dictionary's weights are not in the store."""
    windows_NX: sparse.csr_matrix
    """1 where a window exemplifies a feature that fires there."""


def read_evidence(store: ObjectStore, manifest: FeaturesManifest, features: Sequence[int]) -> FeatureEvidence:
    """Read what is known of the features.

    Raises:
        IntegrityError: the dictionary's files are not what their manifest says.
    """
    return FeatureEvidence(
        decoder_rows(store, manifest.dictionary, features), exemplar_windows(store, manifest, features)
    )


def decoder_rows(
    store: ObjectStore, dictionary: DictionaryRef, features: Sequence[int]
) -> npt.NDArray[np.float32] | None:
    if store.head(paths.manifest(paths.dictionary(dictionary.name, dictionary.version))) is None:
        return None
    encoder, _ = load_encoder(store, str(dictionary))
    rows_NE = encoder.W_dec_FE[list(features)].float().numpy()
    lengths_N1 = np.linalg.norm(rows_NE, axis=1, keepdims=True)
    unit_NE: npt.NDArray[np.float32] = np.divide(
        rows_NE, lengths_N1, out=np.zeros_like(rows_NE), where=lengths_N1 > 0
    )
    return unit_NE


def exemplar_windows(
    store: ObjectStore, manifest: FeaturesManifest, features: Sequence[int]
) -> sparse.csr_matrix:
    """[N, X]: of the firing exemplars of all splits."""
    wanted = {"feature": features, "kind": FIRING_KINDS}
    tables = []
    for entry in manifest.exemplars:
        with open_input(store, entry.key) as file:
            columns = ["feature", "doc_id", "sequence", "start"]
            tables.append(read_parquet(file, columns, wanted))
    table = pa.concat_tables(tables)
    place_of = {feature: place for place, feature in enumerate(features)}
    rows = np.array([place_of[feature] for feature in table["feature"].to_pylist()], np.int64)
    keys = pc.binary_join_element_wise(
        table["doc_id"].cast(pa.string()),
        table["sequence"].cast(pa.string()),
        table["start"].cast(pa.string()),
        "\x1f",
    )
    windows = pc.dictionary_encode(keys.combine_chunks())
    columns_of = np.asarray(windows.indices)
    ones = np.ones(len(rows), np.float32)
    shape = (len(features), max(len(windows.dictionary), 1))
    matrix = sparse.csr_matrix((ones, (rows, columns_of)), shape=shape)
    matrix.data[:] = 1  # a window may stand for a feature in two kinds
    return matrix
