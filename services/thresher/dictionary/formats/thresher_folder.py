"""thresher's own folder, as published and pulled: crosscoders and TopK transcoders too (docs/formats.md)."""

from thresher.contracts.errors import IntegrityError
from thresher.dictionary.formats.foreign import ForeignDictionary, stated
from thresher.dictionary.formats.outgoing import OutgoingDictionary
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.hook_names import site_of_hook
from thresher.latents.folder_config import parse_config
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE, parse_weights


def read_thresher(folder: SourceFolder) -> ForeignDictionary:
    """Read a folder that thresher wrote.

    Raises:
        SpecError: its files are damaged or do not fit each other.
    """
    config_file, weights_file = folder.read(CONFIG_FILE), folder.read(WEIGHTS_FILE)
    try:
        encoder = parse_weights(config_file, weights_file, folder.path)
    except IntegrityError as error:
        raise folder.fault(CONFIG_FILE, str(error)) from error
    config = parse_config(config_file)
    about = config.metadata
    return ForeignDictionary(
        encoder=encoder,
        architecture=config.architecture,
        kind=config.kind,
        blocks=config.blocks,
        site=site_of_hook(stated(about.get("hook_name"), str)),
        output_site=site_of_hook(stated(about.get("hook_name_out"), str)),
        model_name=stated(about.get("model_name"), str),
        context_size=stated(about.get("context_size"), int),
        prepend_bos=stated(about.get("prepend_bos"), bool),
        k=config.k,
    )


def write_thresher(dictionary: OutgoingDictionary) -> dict[str, bytes]:
    """The folder as it is stored."""
    return dict(dictionary.files)
