"""dictionary_learning's folders: config.json and ae.pt, a pickle that has to be ae.safetensors here.

Shape suffixes: D width of the activations, F latents.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import save

from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.foreign import ForeignDictionary, stated
from thresher.dictionary.formats.outgoing import OutgoingDictionary
from thresher.dictionary.formats.rewriting import centred, gated_as_jumprelu, uncentred
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.tensor_table import TensorTable, read_safetensors
from thresher.latents.encoder import SparseEncoder

STATE_FILE, STATE_CONFIG_FILE, LOADING_FILE = "ae.safetensors", "config.json", "README.md"

LOADING = """# A dictionary for dictionary_learning

`{dict_class}` over `{site}` of {model}: {num_latents:,} latents of {d_in:,} values. dictionary_learning reads pickles,
which thresher does not write: this loads the dictionary.

    from dictionary_learning.{module} import {dict_class}
    from safetensors.torch import load_file
    dictionary = {dict_class}({arguments})
    dictionary.load_state_dict(load_file("ae.safetensors"))

For `dictionary_learning.utils.load_dictionary`, make its ae.pt first:

    import torch
    from safetensors.torch import load_file
    torch.save(load_file("ae.safetensors"), "ae.pt")
{note}"""
RESCALED = """
It divides the decoder of an AutoEncoder by its norms, so that codes come out multiplied by them;
`AutoEncoder.from_pretrained("ae.pt", normalize_decoder=False)` leaves them.
"""
MODULES = {
    "AutoEncoderTopK": "trainers.top_k",
    "BatchTopKSAE": "trainers.batch_top_k",
    "AutoEncoder": "dictionary",
    "AutoEncoderNew": "dictionary",
    "JumpReluAutoEncoder": "dictionary",
}
"""Where each class that is written lies."""


def read_dictionary_learning(folder: SourceFolder) -> ForeignDictionary:
    """Read config.json and ae.safetensors.

    Raises:
        SpecError: the weights are a pickle still (says how to convert them), of an unknown class, or damaged.
    """
    config = folder.read_json(STATE_CONFIG_FILE)
    trainer, buffer = config.get("trainer"), config.get("buffer")
    if not isinstance(trainer, dict):
        raise folder.fault(STATE_CONFIG_FILE, "It lacks `trainer`, which names the dictionary's class.")
    dict_class = str(trainer.get("dict_class"))
    if dict_class not in READERS:
        raise folder.fault(STATE_CONFIG_FILE, f"Its dict_class {dict_class!r} is unknown.", [*READERS])
    table = read_safetensors(folder, STATE_FILE)
    encoder, k = READERS[dict_class](table)
    table.check_empty()
    return ForeignDictionary(
        encoder=encoder,
        architecture=dict_class,
        model_name=stated(trainer.get("lm_name"), str),
        context_size=stated(buffer.get("ctx_len"), int) if isinstance(buffer, dict) else None,
        k=k,
    )


def write_dictionary_learning(dictionary: OutgoingDictionary) -> dict[str, bytes]:
    """A state dict, its config.json and the lines that load it.

    The class is the plainest that has the dictionary's form: AutoEncoderTopK, AutoEncoder without thresholds,
    BatchTopKSAE with one threshold for all, else JumpReluAutoEncoder.

    Raises:
        SpecError: it is no autoencoder.
    """
    if dictionary.config.kind != "autoencoder":
        raise SpecError(
            "--format",
            "dictionary_learning",
            allowed=["saelens", "thresher"],
            mend=f"dictionary_learning has autoencoders alone, and this is a {dictionary.config.kind}.",
        )
    k = dictionary.encoder.k or dictionary.manifest.k
    dict_class = _class_for(dictionary.encoder, k)
    state = WRITERS[dict_class](dictionary.encoder)
    if dict_class in ("AutoEncoderTopK", "BatchTopKSAE"):
        state["k"] = torch.tensor(k, dtype=torch.int)
    return {
        STATE_FILE: bytes(save({name: tensor.contiguous() for name, tensor in state.items()})),
        STATE_CONFIG_FILE: _config(dictionary, dict_class, k),
        LOADING_FILE: _loading(dictionary, dict_class, k).encode(),
    }


def _class_for(encoder: SparseEncoder, k: int | None) -> str:
    if encoder.k is not None:
        return "AutoEncoderTopK"
    floor_F = encoder.threshold_F.clamp(min=0)
    if bool((floor_F == 0).all()):
        return "AutoEncoder" if encoder.centres_input else "AutoEncoderNew"
    is_uniform = bool((floor_F == floor_F[0]).all())
    return "BatchTopKSAE" if is_uniform and k is not None and encoder.centres_input else "JumpReluAutoEncoder"


def _config(dictionary: OutgoingDictionary, dict_class: str, k: int | None) -> bytes:
    encoder, about = dictionary.encoder, dictionary.config.metadata
    layer = dictionary.manifest.site.rpartition(".")[2]
    trainer = {
        "dict_class": dict_class,
        "activation_dim": encoder.d_in,
        "dict_size": encoder.num_latents,
        "k": k,
        "layer": int(layer) if layer.isdecimal() else None,
        "lm_name": about.get("model_name"),
        "submodule_name": dictionary.manifest.site,
    }
    config = {
        "trainer": trainer,
        "buffer": {"ctx_len": about.get("context_size"), "d_submodule": encoder.d_in},
    }
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _loading(dictionary: OutgoingDictionary, dict_class: str, k: int | None) -> str:
    encoder = dictionary.encoder
    arguments = f"{encoder.d_in}, {encoder.num_latents}"
    return LOADING.format(
        dict_class=dict_class,
        module=MODULES[dict_class],
        site=dictionary.manifest.site,
        model=dictionary.config.metadata.get("model_name") or "an unnamed model",
        num_latents=encoder.num_latents,
        d_in=encoder.d_in,
        arguments=f"{arguments}, k={k}" if dict_class in ("AutoEncoderTopK", "BatchTopKSAE") else arguments,
        note=RESCALED if dict_class == "AutoEncoder" else "",
    )


def _linear(
    table: TensorTable,
    centre: str,
    *,
    has_bias: bool = True,
    centres_input: bool = True,
    k: int | None = None,
) -> SparseEncoder:
    """Weights of the classes that hold `encoder` and `decoder`, both nn.Linear; `centre` is what they call b_dec."""
    num_latents, d_in = table.shape("encoder.weight", 2)
    return SparseEncoder(
        W_enc_DF=table.take("encoder.weight", num_latents, d_in).T.contiguous(),
        b_enc_F=table.take("encoder.bias", num_latents) if has_bias else torch.zeros(num_latents),
        W_dec_FE=table.take("decoder.weight", d_in, num_latents).T.contiguous(),
        b_dec_E=table.take(centre, d_in),
        threshold_F=torch.zeros(num_latents),
        k=k,
        centres_input=centres_input,
    )


def _matrices(table: TensorTable, *, centres_input: bool) -> SparseEncoder:
    """Weights of the classes that hold W_enc and W_dec."""
    d_in, num_latents = table.shape("W_enc", 2)
    return SparseEncoder(
        W_enc_DF=table.take("W_enc", d_in, num_latents),
        b_enc_F=table.take("b_enc", num_latents),
        W_dec_FE=table.take("W_dec", num_latents, d_in),
        b_dec_E=table.take("b_dec", d_in),
        threshold_F=torch.zeros(num_latents),
        centres_input=centres_input,
    )


def _uniform(table: TensorTable, num_latents: int) -> torch.Tensor:
    """One threshold for all latents; -1, where training was too short to estimate one, keeps all that is positive."""
    return table.take("threshold").expand(num_latents).contiguous()


def _read_topk(table: TensorTable) -> tuple[SparseEncoder, int | None]:
    k = table.integer("k")
    if not 0 < k <= table.shape("encoder.weight", 2)[0]:
        raise table.fault(f"k is {k}, which is no number of its latents.")
    table.drop("threshold")  # its encode takes the k largest
    return _linear(table, "b_dec", k=k), k


def _read_batch_topk(table: TensorTable) -> tuple[SparseEncoder, int | None]:
    k = table.integer("k")
    encoder = _linear(table, "b_dec")
    return replace(encoder, threshold_F=_uniform(table, encoder.num_latents)), k


def _read_matryoshka(table: TensorTable) -> tuple[SparseEncoder, int | None]:
    k = table.integer("k")
    table.drop("group_sizes")  # of its loss
    encoder = _matrices(table, centres_input=True)
    return replace(encoder, threshold_F=_uniform(table, encoder.num_latents)), k


def _read_jumprelu(table: TensorTable) -> tuple[SparseEncoder, int | None]:
    encoder = _matrices(table, centres_input=False)
    return replace(encoder, threshold_F=table.take("threshold", encoder.num_latents)), None


def _read_gated(table: TensorTable) -> tuple[SparseEncoder, int | None]:
    encoder = _linear(table, "decoder_bias", has_bias=False)
    names = ("r_mag", "mag_bias", "gate_bias")
    r_mag_F, b_mag_F, b_gate_F = (table.take(name, encoder.num_latents) for name in names)
    return gated_as_jumprelu(encoder, r_mag_F, b_mag_F, b_gate_F), None


READERS: Mapping[str, Callable[[TensorTable], tuple[SparseEncoder, int | None]]] = {
    "AutoEncoder": lambda table: (_linear(table, "bias"), None),
    "AutoEncoderNew": lambda table: (_linear(table, "decoder.bias", centres_input=False), None),
    "GatedAutoEncoder": _read_gated,
    "JumpReluAutoEncoder": _read_jumprelu,
    "AutoEncoderTopK": _read_topk,
    "BatchTopKSAE": _read_batch_topk,
    "MatryoshkaBatchTopKSAE": _read_matryoshka,
}
"""By dict_class."""


def _write_linear(encoder: SparseEncoder, centre: str) -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": encoder.W_enc_DF.T,
        "encoder.bias": encoder.b_enc_F,
        "decoder.weight": encoder.W_dec_FE.T,
        centre: encoder.b_dec_E,
    }


def _write_jumprelu(encoder: SparseEncoder) -> dict[str, torch.Tensor]:
    encoder = uncentred(encoder)
    return {
        "W_enc": encoder.W_enc_DF,
        "b_enc": encoder.b_enc_F,
        "W_dec": encoder.W_dec_FE,
        "b_dec": encoder.b_dec_E,
        "threshold": encoder.threshold_F.clamp(min=0),
    }


def _write_topk(encoder: SparseEncoder) -> dict[str, Any]:
    return _write_linear(centred(encoder), "b_dec") | {"threshold": torch.tensor(-1.0)}


def _write_batch_topk(encoder: SparseEncoder) -> dict[str, Any]:
    return _write_linear(encoder, "b_dec") | {"threshold": encoder.threshold_F[0].clone()}


WRITERS: Mapping[str, Callable[[SparseEncoder], dict[str, torch.Tensor]]] = {
    "AutoEncoderTopK": _write_topk,
    "AutoEncoder": lambda encoder: _write_linear(encoder, "bias"),
    "AutoEncoderNew": lambda encoder: _write_linear(encoder, "decoder.bias"),
    "BatchTopKSAE": _write_batch_topk,
    "JumpReluAutoEncoder": _write_jumprelu,
}
"""By dict_class: the state dict without k."""
