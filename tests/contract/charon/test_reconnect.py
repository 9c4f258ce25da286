"""Asking charon, or the bridge, for an IKE_SA with somebody."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.charon.reconnect import ViciReconnector
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.charon import FakeCharon

pytestmark = pytest.mark.contract


async def test_an_invitation_is_what_nhrpd_would_ask(charon: FakeCharon, telemetry: Telemetry) -> None:
    """By the first of the sockets that is there, and for the profile of the interface."""
    reconnector = ViciReconnector(
        (charon.path.with_name("absent"), charon.path), {"gre1": "dmvpn", "gre2": "other"}, telemetry
    )
    with pytest.raises(CommandFailed):  # charon without patches has no such form of it, and the fake none at all
        await reconnector.initiate("gre2", ip_address("203.0.113.1"), ip_address("203.0.113.2"))
    (name, message) = charon.requests[-1]
    assert (name, message["child"], message["my-host"], message["other-host"]) == (
        "initiate", b"other", b"203.0.113.1", b"203.0.113.2",
    )  # fmt: skip


async def test_nobody_to_invite_by_is_said(tmp_path: Path, telemetry: Telemetry) -> None:
    """The sockets that were looked for are named."""
    with pytest.raises(CharonLost, match="absent"):
        await ViciReconnector((tmp_path / "absent",), {"gre1": "dmvpn"}, telemetry).initiate(
            "gre1", ip_address("::1"), ip_address("::1")
        )


async def test_nobody_is_invited_on_an_interface_that_is_not_ours(charon: FakeCharon, telemetry: Telemetry) -> None:
    """A stored peer may be of an interface that the configuration does not have any more."""
    reconnector = ViciReconnector((charon.path,), {"gre1": "dmvpn"}, telemetry)
    with pytest.raises(CommandFailed, match=r"gre9 is not in nhrp\.interfaces"):
        await reconnector.initiate("gre9", ip_address("203.0.113.1"), ip_address("203.0.113.2"))
