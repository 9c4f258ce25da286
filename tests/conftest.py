"""Fixtures for all tests."""

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from dmvpn_agent.runtime.telemetry import Telemetry
from factories import Clock
from fakes.frr import MemoryStore
from fakes.node import Node

settings.register_profile("fast", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("thorough", settings.get_profile("fast"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    """A command that sets up the log does so for its own test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def logs() -> Iterator[list[structlog.typing.EventDict]]:
    """The log events of the test."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
def node(store: MemoryStore, clock: Clock) -> Node:
    return Node(store, clock)
