"""Pulling, verifying and searching with the base install alone: no torch, no ray, no vllm, no model server."""

import filecmp
import json
import subprocess
from pathlib import Path

import pytest

import thresher
from fixtures.releases import D_IN, NUM_LATENTS, TEXTS, publish_spec, write_artifacts
from thresher.release.publish import publish
from thresher.storage import open_store

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[2]
PYTHON = REPOSITORY / ".venvs/bare/bin/python"
PACKAGE = Path(thresher.__file__).parent

PULL = """
import importlib.util, json, sys
import duckdb, pandas
from safetensors.numpy import load_file
from thresher.release.folder import verify_folder
from thresher.release.pull import pull

root, destination = sys.argv[1:]
folder = pull(root, "tiny-labelled", destination)
labels = pandas.read_parquet(folder / "labels.parquet")
query = '''
    select l.text, s.value, f.density from 'labels.parquet' l join 'scores.parquet' s using (label_id)
    join 'features.parquet' f on f.feature = l.feature where not s.shuffled and l.feature = 2
'''.replace("from '", f"from '{folder}/").replace("join '", f"join '{folder}/")
print(json.dumps({
    "importable": [n for n in ("torch", "ray", "vllm", "transformers", "openai") if importlib.util.find_spec(n)],
    "texts": dict(zip(labels["feature"].tolist(), labels["text"].tolist())),
    "rows": duckdb.sql(query).fetchall(),
    "exemplars": duckdb.sql(f"select count(*) from '{folder}/exemplars/*.parquet'").fetchall(),
    "decoder": load_file(folder / "sae_weights.safetensors")["W_dec"].shape,
    "faults": verify_folder(folder),
}))
"""

SEARCH = """
import json, sys
from thresher.catalog import open_catalog
from thresher.catalog.rebuild import rebuild
from thresher.catalog.search import search
from thresher.storage import open_store

root, url = sys.argv[1:]
catalog = open_catalog(url)
rebuild(catalog, open_store(root))
print(json.dumps([hit.label.text for hit in search(catalog, "digits").features]))
"""


@pytest.fixture(scope="module")
def bare_python() -> Path:
    """The interpreter of an environment that holds thresher as it is now, without extras."""
    assert PYTHON.exists(), "there is no .venvs/bare: run make venvs"
    code = "import thresher; print(thresher.__path__[0])"
    installed = Path(
        subprocess.run(
            [PYTHON, "-c", code], cwd="/", capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    assert installed != PACKAGE, "the package must be installed, not linked"
    for part in ("catalog", "contracts", "release", "runtime", "storage"):
        files = [str(file.relative_to(PACKAGE)) for file in (PACKAGE / part).rglob("*.py")]
        _, changed, missing = filecmp.cmpfiles(PACKAGE, installed, files, shallow=False)
        assert not changed + missing, f".venvs/bare is older than {changed + missing}: run make venvs"
    return PYTHON


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        url: str = request.getfixturevalue("s3_root")
        return url
    return f"file://{tmp_path}/root"


def run(python: Path, code: str, *arguments: str) -> object:
    done = subprocess.run(
        [python, "-c", code, *arguments], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_release_is_pulled_and_opened_without_the_gpu_stack(bare_python, root, tmp_path):
    publish(publish_spec(root, write_artifacts(open_store(root))))
    assert run(bare_python, PULL, root, str(tmp_path / "pulled")) == {
        "importable": [],
        "texts": {str(feature): text for feature, text in TEXTS.items()},
        "rows": [[TEXTS[2], pytest.approx(0.62), 0.003]],
        "exemplars": [[NUM_LATENTS - 1]],
        "decoder": [NUM_LATENTS, D_IN],
        "faults": [],
    }


def test_the_catalog_is_made_and_searched_without_the_gpu_stack(bare_python, root, tmp_path):
    write_artifacts(open_store(root))
    found = run(bare_python, SEARCH, root, f"sqlite:///{tmp_path}/catalog.sqlite")
    assert found == [TEXTS[0], TEXTS[3]]
