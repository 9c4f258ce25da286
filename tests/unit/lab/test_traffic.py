"""Traffic: what counts as lost, and how long it was interrupted."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dmvpn_lab import pings, traffic
from dmvpn_lab.pings import Stream
from dmvpn_lab.traffic import TrafficIntact


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lab with a stream of five packets a second: 3 and 4 were lost, then it took the other path."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(pings, "_SILENCE_SECONDS", 0.0)
    log = tmp_path / "traffic.log"
    lines = [
        f"[1764085000.{tenths}00000] 64 bytes from 192.168.3.2: icmp_seq={number} ttl={ttl} time=0.5 ms\n"
        for number, tenths, ttl in ((1, 0, 61), (2, 2, 61), (5, 8, 62))
    ]
    log.write_text("PING 192.168.3.2\n" + "".join(lines))
    return SimpleNamespace(traffic={("spoke1", "spoke3"): Stream(None, log)})  # type: ignore[arg-type]


def test_lost_packets_and_gap_are_told(lab: Any) -> None:
    """A packet is lost when a later one was answered; the gap is the time between two answers."""
    evidence = TrafficIntact("spoke1", "spoke3").observe(lab).evidence
    assert (evidence["lost"], evidence["longest_gap_seconds"], evidence["path"]) == ([3, 4], 0.6, "direct")


@pytest.mark.parametrize(
    ("keys", "true"),
    [
        ({"at_most": 2}, True),
        ({"at_most": 1}, False),
        ({"at_most": 2, "longest_gap": 1}, True),
        ({"at_most": 2, "longest_gap": 0}, False),
        ({"at_most": 2, "path": "direct"}, True),
        ({"at_most": 2, "path": "hub"}, False),
    ],
)
def test_bounds_hold(lab: Any, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], true: bool) -> None:
    """More lost packets, a longer gap or another path than expected is not true."""
    monkeypatch.setattr(traffic, "further_reply", lambda *_: True)
    assert TrafficIntact("spoke1", "spoke3", **keys).observe(lab).true is true


def test_silence_is_not_intact(lab: Any) -> None:
    """Traffic that has stopped is not intact, however few packets are known to be lost."""
    assert not TrafficIntact("spoke1", "spoke3", at_most=100).observe(lab).true
