"""The command as a user meets it: a process, its words and its exit code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from fixtures.foreign_dictionaries import foreign_folders
from fixtures.harvests import write_harvest
from thresher.storage import open_store

THRESHER = str(Path(sys.executable).with_name("thresher"))


def _run(*arguments, cwd=None):
    return subprocess.run([THRESHER, *arguments], capture_output=True, text=True, cwd=cwd, timeout=60)


@pytest.fixture
def corpus_spec(tmp_path, word_tokenizer):
    lines = [json.dumps({"text": " ".join(f"w{(i + j) % 100}" for j in range(30))}) for i in range(60)]
    (tmp_path / "documents.jsonl").write_text("\n".join(lines))
    spec = {
        "root": f"file://{tmp_path}/root",
        "sources": [{"kind": "jsonl", "path": str(tmp_path / "documents.jsonl")}],
        "tokenizer": str(word_tokenizer),
        "sequence_length": 16,
        "max_tokens": 800,
    }
    file = tmp_path / "corpus.yaml"
    file.write_text(yaml.safe_dump(spec))
    return file


def test_a_stage_prints_the_id_alone_and_inspect_and_verify_take_it(corpus_spec, tmp_path):
    done = _run("corpus", str(corpus_spec))
    assert done.returncode == 0, done.stderr
    artifact, root = f"corpora/{done.stdout.strip()}", f"file://{tmp_path}/root"
    assert len(done.stdout.split()) == 1
    shown = _run("inspect", artifact, "--root", root)
    assert shown.returncode == 0
    assert "num_documents" in shown.stdout
    assert _run("verify", artifact, "--root", root).returncode == 0


@pytest.mark.slow
def test_a_dictionary_comes_in_and_goes_out(tmp_path):
    root = f"file://{tmp_path}/root"
    source = {"format": "sparsify", "path": str(foreign_folders()["sparsify-topk"].write(tmp_path))}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"root": root, "name": "mine", "source": source}))
    done = _run("import-dictionary", str(tmp_path / "spec.yaml"))
    assert (done.returncode, done.stdout) == (0, "mine@1\n"), done.stderr
    done = _run("export", "mine@1", "--format", "saelens", "--to", str(tmp_path / "out"), "--root", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        f"file://{tmp_path}/out/{name}" for name in ("cfg.json", "sae_weights.safetensors")
    ]
    done = _run("export", "mine@1", "--format", "npz", "--root", root)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "Allowed: saelens, sparsify, dictionary_learning, thresher" in done.stderr


def test_overrides_make_another_artifact(corpus_spec):
    ids = [_run("corpus", str(corpus_spec), "--set", f"seed={seed}").stdout for seed in (0, 1)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["corpus", "nowhere.yaml"], ["nowhere.yaml", "exists"]),
        (["corpus", "SPEC", "--set", "max_token=3"], ["max_token", "Allowed", "max_tokens"]),
        (["corpus", "SPEC", "--set", "max_tokens=many"], ["max_tokens", "many"]),
        (["corpus", "SPEC", "--set", "max_tokens"], ["--set", "key=value"]),
        (["corpus", "SPEC", "--set", "root=ftp://x"], ["root", "ftp://x", "s3://bucket/prefix"]),
        (["pull", "no name", "out", "--root", "file:///tmp"], ["no name"]),
    ],
)
def test_bad_use_exits_with_2_and_one_line(arguments, words, corpus_spec, tmp_path):
    done = _run(*[str(corpus_spec) if item == "SPEC" else item for item in arguments], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_failures_exit_with_1(tmp_path):
    done = _run("pull", "absent@1", str(tmp_path / "out"), "--root", f"file://{tmp_path}/root")
    assert done.returncode == 1
    assert "absent" in done.stderr
    assert not (tmp_path / "out").exists()


def test_verify_names_a_corrupted_shard(tmp_path):
    root = f"file://{tmp_path}/root"
    store = open_store(root)
    x_ND = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    manifest = write_harvest(store, {"resid_post.1": x_ND}, sequence_length=8, splits={"fit": 6, "report": 2})
    key = manifest.shards[0].sites["resid_post.1"].key
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))
    done = _run("verify", f"activations/{manifest.harvest_id}", "--root", root)
    assert done.returncode == 1
    assert key in done.stdout
    assert "1 bad file" in done.stdout


def test_every_verb_of_the_readme_is_there():
    shown = _run("--help").stdout
    verbs = (
        "demo corpus harvest import fit sweep import-dictionary export evaluate compare encode label publish pull "
        "verify inspect search submit up down doctor"
    )
    for verb in verbs.split():
        assert f" {verb} " in shown
