"""Fixtures for the contract tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.charon import FakeCharon


@pytest.fixture
async def charon(tmp_path: Path) -> AsyncIterator[FakeCharon]:
    """A fake charon that says that it is patched."""
    charon = FakeCharon(tmp_path / "charon.vici", patched=True)
    await charon.start()
    yield charon
    await charon.stop()
