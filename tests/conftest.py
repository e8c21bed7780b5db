"""Fixtures live in tests/fixtures, one file a real part."""

from pathlib import Path

pytest_plugins = [
    f"fixtures.{file.stem}" for file in sorted((Path(__file__).parent / "fixtures").glob("[a-z]*.py"))
]
