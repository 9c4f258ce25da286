"""The table of SAs."""

from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.vici import Packet, PacketType, decode, encode
from dmvpn_agent.cli.sas import render
from dmvpn_agent.view.sa_json import ike_sa_json
from factories import NOW
from fakes.charon import FakeSa


def _state(*sas: FakeSa, **changes: str) -> list[dict[str, Any]]:
    messages = [
        decode(encode(Packet(PacketType.EVENT, "", {sa.name: sa.section(**changes)}))[4:]).message for sa in sas
    ]
    found = (sa for message in messages for sa in parse_ike_sas(message, NOW))
    return [{"peer": "spoke1" if sa.unique_id == 1 else None, **ike_sa_json(sa)} for sa in found]


ONE = FakeSa(1, "203.0.113.2", "CN=spoke1", children={3: "INSTALLED"}, traffic={3: (1_234_000, 10, 999, 9)})
OTHER = FakeSa(2, "203.0.113.3", "CN=spoke2")


def test_a_line_has_peer_state_ages_algorithms_and_traffic() -> None:
    """For one IKE_SA with a CHILD_SA."""
    line = " ".join(render(_state(ONE), NOW + timedelta(seconds=5)).splitlines()[1].split())
    assert line == (
        "spoke1 203.0.113.2:500 established,installed no 1m5s 49m55s AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384 "
        "AES_GCM_16-256 1.23 MB 999 B CN=spoke1"
    )


def test_a_missing_value_is_a_dash() -> None:
    """For an IKE_SA without CHILD_SA, of an unknown peer."""
    text = render(_state(OTHER, **{"nat-remote": "yes"}), NOW)
    assert "-     203.0.113.3:500  established  remote  1m0s  -" in text
    assert render([], NOW) == "no SAs"


def test_an_overdue_rekeying_is_negative() -> None:
    """The time since it was due."""
    assert "-1m40s" in render(_state(ONE), NOW + timedelta(seconds=3100))


@pytest.mark.parametrize("width", [80, 100, 130])
def test_a_narrow_terminal_has_fewer_columns(width: int) -> None:
    """No line is longer than the terminal, and states and addresses are whole."""
    lines = render(_state(ONE, OTHER), NOW, width).splitlines()
    assert max(map(len, lines)) <= width
    assert "203.0.113.2:500" in lines[1]
    assert "established,installed" in lines[1]
