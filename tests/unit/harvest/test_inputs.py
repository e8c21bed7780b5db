"""Every bad input has a clear error before an engine starts."""

import pytest

from fixtures.releases import D_IN, write_dictionary
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, MissingArtifactError, SpecError
from thresher.contracts.manifests import DictionaryTarget, TargetSite
from thresher.corpus.build import build_corpus
from thresher.corpus.spec import CorpusSpec
from thresher.harvest.inputs import resolve_inputs
from thresher.harvest.spec import HarvestSpec
from thresher.storage import open_store
from thresher.storage.artifacts import record_bytes


@pytest.fixture
def root(tmp_path):
    return f"file://{tmp_path}/root"


@pytest.fixture
def corpus(root, word_model, tmp_path):
    (tmp_path / "texts").mkdir()
    for index in range(60):
        (tmp_path / "texts" / f"{index}.txt").write_text(
            " ".join(f"w{(index * 7 + j) % 100}" for j in range(20))
        )
    return build_corpus(
        CorpusSpec.parse(
            {
                "root": root,
                "sources": [{"kind": "text_files", "folder": str(tmp_path / "texts")}],
                "tokenizer": str(word_model),
                "sequence_length": 8,
                "max_tokens": 800,
                "splits": {"fit": 0.8, "explain": 0.2, "report": 0.0},
            }
        )
    )


@pytest.fixture
def spec(root, word_model, corpus):
    def make(**more):
        base = {"root": root, "corpus": corpus.corpus_id, "model": str(word_model), "sites": ["resid_post.1"]}
        return HarvestSpec.parse(base | more)

    return make


def test_good_input_has_an_id_that_the_way_of_running_does_not_change(spec):
    first = resolve_inputs(spec()).harvest_id
    assert resolve_inputs(spec(engine={"max_batch_tokens": 64}, actors={"count": 3})).harvest_id == first
    assert resolve_inputs(spec(sites=["resid_post.0"])).harvest_id != first
    assert resolve_inputs(spec(encoding="float16")).harvest_id != first


def test_other_weights_have_another_id(spec, word_model):
    first = resolve_inputs(spec()).harvest_id
    (word_model / "model.safetensors").write_bytes(b"other bytes")
    assert resolve_inputs(spec()).harvest_id != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sites": ["resid_end.1"]}, ["site", "resid_end.1", "resid_post.LAYER"]),
        ({"sites": ["resid_post"]}, ["site", "resid_post.12"]),
        ({"sites": ["resid_post.2"]}, ["resid_post.2", "layers 0 to 1"]),
        ({"sites": ["resid_post.1", "resid_post.1"]}, ["once"]),
        ({"model": "/nowhere"}, ["model", "/nowhere", "config.json"]),
        ({"splits": ["report"]}, ["splits", "larger corpus"]),
        ({"splits": ["fitt"]}, ["splits", "fitt"]),
        ({"engine": {"enable_prefix_caching": True}}, ["prefix_caching", "never run", "always off"]),
        (
            {"engine": {"tensor_parallel": 2}, "sites": ["mlp_neurons.1"]},
            ["mlp_neurons.1", "tensor_parallel"],
        ),
        ({"engine": {"taps": "aux"}, "sites": ["mlp_out.1"]}, ["engine.taps", "resid_post"]),
        (
            {"dictionary": "demo@1", "selection": {"min_position": 1}},
            ["selection", "min_position", "whole sequences"],
        ),
        ({"encoding": "int3"}, ["encoding", "int3", "bfloat16"]),
        ({"root": "gs://bucket"}, ["root", "gs://bucket", "s3://bucket/prefix"]),
        ({"dictionary": "demo"}, ["dictionary", "name@version"]),
        ({"dictionary": "demo@1", "sites": ["resid_post.0", "resid_post.1"]}, ["one site"]),
    ],
)
def test_bad_values_name_the_field_and_the_mend(spec, change, words):
    with pytest.raises(SpecError) as caught:
        resolve_inputs(spec(**change))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("change", [{"corpus": "absent"}, {"dictionary": "absent@1"}])
def test_what_is_upstream_and_not_there_is_named(spec, change):
    with pytest.raises(MissingArtifactError, match="absent"):
        resolve_inputs(spec(**change))


def test_an_unknown_architecture_lists_those_that_are_known(spec, word_model):
    config = word_model / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "StrangeModel"))
    with pytest.raises(SpecError, match=r"GPT2LMHeadModel, .*LlamaForCausalLM"):
        resolve_inputs(spec())


def test_an_unknown_architecture_may_be_read_as_a_known_one(spec, word_model):
    known = resolve_inputs(spec()).harvest_id
    config = word_model / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "StrangeModel"))
    read_as = resolve_inputs(spec(family="LlamaForCausalLM"))
    assert read_as.model.architecture == "StrangeModel"
    assert read_as.harvest_id != known
    assert resolve_inputs(spec(family="MixtralForCausalLM")).harvest_id != read_as.harvest_id
    with pytest.raises(SpecError, match=r"mlp_neurons\.0.*Each expert"):
        resolve_inputs(spec(family="MixtralForCausalLM", sites=["mlp_neurons.0"]))


def test_neurons_need_a_config_that_counts_them(spec, word_model):
    with pytest.raises(SpecError, match="intermediate_size"):
        resolve_inputs(spec(sites=["mlp_neurons.0"]))
    config = word_model / "config.json"
    config.write_text(config.read_text().replace("}", ', "intermediate_size": 24}'))
    assert resolve_inputs(spec(sites=["mlp_neurons.0"])).model.d_mlp == 24


def test_a_corpus_of_another_tokenizer_is_refused(spec, word_model):
    file = word_model / "tokenizer.json"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(SpecError, match="another model"):
        resolve_inputs(spec())


def test_a_truncated_manifest_is_named(spec, corpus, root):
    store, key = open_store(root), paths.manifest(paths.corpus(corpus.corpus_id))
    store.put(key, store.get(key)[:-40])
    with pytest.raises(IntegrityError, match="truncated"):
        resolve_inputs(spec())


def target(kind, inputs, outputs=None):
    def sites(names):
        return [TargetSite(site=name, harvest_id="h", width=D_IN) for name in names]

    return DictionaryTarget(kind=kind, inputs=sites(inputs), outputs=sites(outputs or inputs))


@pytest.fixture
def dictionary_of(root):
    """Stores a dictionary of a target as tiny@1."""

    def make(of):
        store = open_store(root)
        manifest = write_dictionary(store).model_copy(update={"target": of})
        store.put(paths.manifest(paths.dictionary("tiny", "1")), record_bytes(manifest))

    return make


@pytest.mark.parametrize(
    ("of", "site"),
    [
        (target("autoencoder", ["resid_post.1"]), "resid_post.1"),
        (target("transcoder", ["mlp_in.0"], ["mlp_out.0"]), "mlp_in.0"),
        (target("layer_group", ["resid_post.0", "resid_post.1"]), "resid_post.0"),
        (target("layer_group", ["resid_post.0", "resid_post.1"]), "resid_post.1"),
    ],
)
def test_a_dictionary_encodes_at_a_site_that_it_reads(spec, dictionary_of, of, site):
    dictionary_of(of)
    dictionary = resolve_inputs(spec(dictionary="tiny@1", sites=[site])).dictionary
    assert dictionary is not None
    assert dictionary.target == of


@pytest.mark.parametrize(
    ("of", "site", "words"),
    [
        (target("autoencoder", ["resid_post.1"]), "resid_post.0", ["sites", "resid_post.1"]),
        (target("transcoder", ["mlp_in.0"], ["mlp_out.0"]), "mlp_out.0", ["sites", "mlp_in.0"]),
        (target("crosscoder", ["mlp_in.0", "mlp_out.0"]), "mlp_in.0", ["dictionary", "mlp_in.0+mlp_out.0"]),
    ],
)
def test_other_sites_and_crosscoders_are_refused(spec, dictionary_of, of, site, words):
    dictionary_of(of)
    with pytest.raises(SpecError) as caught:
        resolve_inputs(spec(dictionary="tiny@1", sites=[site]))
    for word in words:
        assert word in str(caught.value)
