"""What the tests of this folder share."""

import pytest

from dmvpn_agent.runtime.telemetry import Telemetry
from enforcing import Node
from factories import Clock
from fakes.frr import MemoryStore


@pytest.fixture
def node(store: MemoryStore, telemetry: Telemetry, clock: Clock) -> Node:
    return Node(store, telemetry, clock)
