"""The formats, by name."""

from collections.abc import Callable, Mapping

from thresher.dictionary.formats.dictionary_learning import (
    read_dictionary_learning,
    write_dictionary_learning,
)
from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.gemma_scope import read_gemma_scope
from thresher.dictionary.formats.outgoing import OutgoingDictionary
from thresher.dictionary.formats.saelens import read_saelens, write_saelens
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.sparsify import read_sparsify, write_sparsify
from thresher.dictionary.formats.spec import FormatName
from thresher.dictionary.formats.thresher_folder import read_thresher, write_thresher

READERS: Mapping[FormatName, Callable[[SourceFolder], ForeignDictionary]] = {
    "saelens": read_saelens,
    "sparsify": read_sparsify,
    "dictionary_learning": read_dictionary_learning,
    "gemma_scope": read_gemma_scope,
    "thresher": read_thresher,
}

WRITERS: Mapping[str, Callable[[OutgoingDictionary], dict[str, bytes]]] = {
    "saelens": write_saelens,
    "sparsify": write_sparsify,
    "dictionary_learning": write_dictionary_learning,
    "thresher": write_thresher,
}
"""What each returns are the files of a folder, by their path in it."""
