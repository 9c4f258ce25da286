"""``check`` and ``doctor`` beside a real bgpd: what in FRR hinders the agent is printed with what to do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.frr import RealBgpd, available
from contract.hub import Hub

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

RANGE = "bgp listen range 10.255.0.0/24 peer-group spokes"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    bgpd = RealBgpd()
    bgpd.start()
    hub = Hub(bgpd, tmp_path)
    yield hub
    hub.store.close()
    bgpd.stop()


def test_a_listen_range_over_the_spokes_must_go(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands name the line."""
    hub.bgpd.type("configure terminal", "router bgp 65000", "neighbor spokes remote-as 64514", RANGE)
    assert hub.run("check") == 0
    assert f"remove it: `no {RANGE}`" in capsys.readouterr().out
    hub.run("check", "--json")
    assert "listen_range" in {one["kind"] for one in json.loads(capsys.readouterr().out)["frr_problems"]}
    hub.run("doctor", "--json")
    checks = json.loads(capsys.readouterr().out)
    (found,) = [check for check in checks if check["name"] == "bgpd" and RANGE in check["found"]]
    assert (found["level"], found["do"].startswith(f"remove it: `no {RANGE}`")) == ("fault", True)


def test_a_group_that_is_active_nowhere_lacks_two_lines(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands print them."""
    hub.bgpd.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast",
                  "no neighbor spokes activate")  # fmt: skip
    hub.run("check")
    assert "`address-family ipv4 unicast`, `neighbor spokes activate`" in capsys.readouterr().out
    hub.run("doctor")
    assert "`address-family ipv4 unicast`, `neighbor spokes activate`" in capsys.readouterr().out


def test_without_frr_the_configuration_is_checked_all_the_same(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is not reported."""
    hub.bgpd.kill()
    assert hub.run("check") == 0
    assert "FRR:" not in capsys.readouterr().out
