"""`thresher doctor` tells each part apart, and its exit code is that of all together."""

from pathlib import Path

import pytest

from thresher.pipelines import doctor
from thresher.pipelines.doctor import examine
from thresher.runtime.doctor import Check


@pytest.fixture(autouse=True)
def _quick_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The imports of engines, which take a minute, are tested apart."""
    monkeypatch.setattr(doctor, "machine_checks", lambda: [Check("Python", lambda: "3.11")])
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def test_what_is_given_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    assert [(result.name, result.ok) for result in examine(None, catalog)] == [
        ("Python", True),
        ("catalog", True),
    ]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    results = examine((tmp_path / "root").as_uri(), catalog)
    assert [(result.name, result.ok) for result in results[2:]] == [("store", True), ("endpoint", False)]


def test_a_catalog_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = examine(None, f"sqlite:///{tmp_path / 'file' / 'catalog.sqlite'}")[1]
    assert (result.name, result.ok) == ("catalog", False)
