"""Requests to charon, or the bridge, for an IKE_SA with a peer."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.charon.reconnect import ViciReconnector
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.charon import FakeCharon

pytestmark = pytest.mark.contract


async def test_the_command_is_the_one_that_nhrpd_uses(charon: FakeCharon, telemetry: Telemetry) -> None:
    """It goes to the first socket that exists, with the profile of the interface."""
    reconnector = ViciReconnector(
        (charon.path.with_name("absent"), charon.path), {"gre1": "dmvpn", "gre2": "other"}, telemetry
    )
    with pytest.raises(CommandFailed):  # the fake charon does not know the command
        await reconnector.initiate("gre2", ip_address("203.0.113.1"), ip_address("203.0.113.2"))
    (name, message) = charon.requests[-1]
    assert (name, message["child"], message["my-host"], message["other-host"]) == (
        "initiate", b"other", b"203.0.113.1", b"203.0.113.2",
    )  # fmt: skip


async def test_without_a_socket_the_request_fails(tmp_path: Path, telemetry: Telemetry) -> None:
    """The error names the sockets."""
    with pytest.raises(CharonLost, match="absent"):
        await ViciReconnector((tmp_path / "absent",), {"gre1": "dmvpn"}, telemetry).initiate(
            "gre1", ip_address("::1"), ip_address("::1")
        )


async def test_a_request_for_an_unknown_interface_fails(charon: FakeCharon, telemetry: Telemetry) -> None:
    """A stored peer may belong to an interface that was removed from the configuration."""
    reconnector = ViciReconnector((charon.path,), {"gre1": "dmvpn"}, telemetry)
    with pytest.raises(CommandFailed, match=r"gre9 is not in nhrp\.interfaces"):
        await reconnector.initiate("gre9", ip_address("203.0.113.1"), ip_address("203.0.113.2"))
