import pytest
from pydantic import Field

from thresher.config import Spec
from thresher.contracts.errors import SpecError


class Inner(Spec):
    rate: float = 0.1
    """A rate."""


class Outer(Spec):
    root: str = Field(json_schema_extra={"operational": True})
    """A root."""
    name: str
    """A name."""
    inner: Inner = Inner()
    """An inner spec."""


def _write(tmp_path, text):
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    return file


def test_overrides_reach_nested_keys(tmp_path):
    file = _write(tmp_path, "root: file:///a\nname: x\n")
    spec = Outer.load(file, ["inner.rate=0.5", "name=y"])
    assert (spec.name, spec.inner.rate) == ("y", 0.5)


def test_identity_leaves_out_how_to_run():
    first = Outer.parse({"root": "file:///a", "name": "x"})
    assert first.identity() == {"name": "x", "inner": {"rate": 0.1}}
    assert first.identity() == Outer.parse({"root": "s3://b", "name": "x"}).identity()


class Several(Spec):
    members: tuple[Outer, ...]
    """Specs in a sequence."""


def test_identity_leaves_out_how_to_run_in_a_sequence_too():
    first, second = (Several.parse({"members": [{"root": root, "name": "x"}]}) for root in ("a", "b"))
    assert first.identity() == second.identity() == {"members": [{"name": "x", "inner": {"rate": 0.1}}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("root: file:///a\n", ["name", "missing", "needs this key"]),
        ("root: file:///a\nname: x\nnmae: y\n", ["nmae", "Allowed: inner, name, root"]),
        ("root: file:///a\nname: x\ninner: {rat: 1}\n", ["inner.rat", "Allowed: rate"]),
        ("root: file:///a\nname: x\ninner: {rate: fast}\n", ["inner.rate", "fast", "number"]),
        ("- a\n", ["mapping"]),
        ("a: [\n", ["Mend the YAML"]),
    ],
)
def test_faults_name_the_field_and_the_mend(tmp_path, text, words):
    with pytest.raises(SpecError) as caught:
        Outer.load(_write(tmp_path, text))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("override", ["name", "=x", "name.first=x"])
def test_bad_overrides_say_how_to_write_them(tmp_path, override):
    with pytest.raises(SpecError, match="--set"):
        Outer.load(_write(tmp_path, "root: file:///a\nname: x\n"), [override])


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.yaml"):
        Outer.load(tmp_path / "nowhere.yaml")
