"""``check`` and ``doctor`` with a real bgpd: problems in FRR are printed with what to do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.frr import RealBgpd, available
from contract.hub import Hub
from dmvpn_agent.cli.tunnel_text import tunnel_json
from dmvpn_agent.kernel.links.preview import LinkPreview
from dmvpn_agent.kernel.links.problem import not_gre
from documented import assert_documented

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


def test_a_listen_range_that_covers_the_spokes_is_a_problem(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands name the line."""
    hub.bgpd.type("configure terminal", "router bgp 65000", "neighbor spokes remote-as 64514", RANGE)
    assert hub.run("check") == 0
    assert f"remove it: `no {RANGE}`" in capsys.readouterr().out
    hub.run("check", "--json")
    result = json.loads(capsys.readouterr().out)["data"]
    assert "listen_range" in {one["kind"] for one in result["frr_problems"]}
    tunnels = tunnel_json(LinkPreview({}, problems=(not_gre("gre1", "veth"),)))
    assert_documented("check/1", result, {"tunnels": tunnels}, opaque={"configuration"})
    hub.run("doctor", "--json")
    checks = json.loads(capsys.readouterr().out)["data"]
    assert_documented("doctor/1", checks)
    (found,) = [check for check in checks if check["name"] == "bgpd" and RANGE in check["found"]]
    assert (found["level"], found["do"].startswith(f"remove it: `no {RANGE}`")) == ("fault", True)


def test_a_peer_group_that_is_not_activated_is_a_problem(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands print the two lines to add."""
    hub.bgpd.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast",
                  "no neighbor spokes activate")  # fmt: skip
    hub.run("check")
    assert "`address-family ipv4 unicast`, `neighbor spokes activate`" in capsys.readouterr().out
    hub.run("doctor")
    assert "`address-family ipv4 unicast`, `neighbor spokes activate`" in capsys.readouterr().out


def test_check_works_without_frr(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """It reports nothing about FRR."""
    hub.bgpd.kill()
    assert hub.run("check") == 0
    assert "FRR:" not in capsys.readouterr().out
