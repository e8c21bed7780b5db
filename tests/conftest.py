"""Fixtures live in tests/fixtures, one file a real part."""

from pathlib import Path

from hypothesis import settings

settings.register_profile("thresher", deadline=None)  # a busy machine is no fault of the code's
settings.load_profile("thresher")

pytest_plugins = [
    f"fixtures.{file.stem}" for file in sorted((Path(__file__).parent / "fixtures").glob("[a-z]*.py"))
]
