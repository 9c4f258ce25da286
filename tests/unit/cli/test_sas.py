"""The table of SAs."""

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.vici import Packet, PacketType, decode, encode
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.cli.sas import render, select
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.status import charon_status
from factories import NOW
from fakes.charon import FakeSa


def _state(*sas: FakeSa, **changes: str) -> dict[str, Any]:
    telemetry = Telemetry()
    watch = CharonWatch(ViciCharon(Path("absent"), telemetry), {"gre1": "dmvpn"}, telemetry)
    messages = [
        decode(encode(Packet(PacketType.EVENT, "", {sa.name: sa.section(**changes)}))[4:]).message for sa in sas
    ]
    watch.ike_sas = tuple(found for message in messages for found in parse_ike_sas(message, NOW))
    watch.connected = True
    peers = [{"protocol_address": "10.255.0.2", "nbma_address": "203.0.113.2"}]
    return {"charon": charon_status(watch), "peers": peers}


ONE = FakeSa(1, "203.0.113.2", "CN=spoke1", children={3: "INSTALLED"}, traffic={3: (1_234_000, 10, 999, 9)})
OTHER = FakeSa(2, "203.0.113.3", "CN=spoke2")


def test_a_line_has_peer_state_ages_algorithms_and_traffic() -> None:
    """For one IKE_SA with a CHILD_SA."""
    found = list(select(_state(ONE), set()))
    line = " ".join(render(found, NOW + timedelta(seconds=5), connected=True).splitlines()[1].split())
    assert line == (
        "10.255.0.2 203.0.113.2:500 established,installed no 1m5s 49m55s AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384 "
        "AES_GCM_16-256 1.23 MB 999 B CN=spoke1"
    )


def test_peers_are_found_by_either_address() -> None:
    """By NBMA address or protocol address."""
    state = _state(ONE, OTHER)
    for address in ("10.255.0.2", "203.0.113.2"):
        assert [sa["unique_id"] for sa in select(state, {str(ip_address(address))})] == [1]
    assert len(list(select(state, set()))) == 2


def test_a_missing_value_is_a_dash() -> None:
    """For an IKE_SA without CHILD_SA, of an unknown peer."""
    text = render(list(select(_state(OTHER, **{"nat-remote": "yes"}), set())), NOW, connected=True)
    assert "-     203.0.113.3:500  established  remote  1m0s  -" in text
    assert render([], NOW, connected=True) == "no SAs"


def test_an_overdue_rekeying_is_negative() -> None:
    """The time since it was due."""
    text = render(list(select(_state(ONE), set())), NOW + timedelta(seconds=3100), connected=True)
    assert "-1m40s" in text


def test_without_charon_the_command_says_so() -> None:
    """An empty table would look as if there were no SAs."""
    assert render([], NOW, connected=False) == "NOT CONNECTED to charon"
