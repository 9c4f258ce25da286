"""An IKE_SA that was being set up while its connection changed its authentication method."""

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dmvpn_agent.charon import connections, own_certificates, watch
from dmvpn_agent.charon.sa import Authentication, ChildSa, IkeSa
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NBMA

SA = IkeSa(
    1,
    "dmvpn",
    "ESTABLISHED",
    NBMA - 1,
    NBMA,
    500,
    "CN=hub",
    "CN=victim",
    "1",
    "2",
    (ChildSa(1, "dmvpn", "INSTALLED"),),
)


async def test_it_proves_nothing_although_charon_first_listed_it_under_another_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """charon chooses the connection late; the peer may have authenticated by the former pre-shared key."""
    method, listed = Authentication.PRE_SHARED_KEY, list[IkeSa]()

    async def list_connections(_: Any) -> Iterable[Any]:
        return [SimpleNamespace(name="dmvpn", authentication=method, ca_names=())]

    async def list_sas(*_: Any, **__: Any) -> list[IkeSa]:
        return list(listed)

    async def list_authorities(_: Any) -> list[bytes]:
        return []

    monkeypatch.setattr(connections, "list_connections", list_connections)
    monkeypatch.setattr(watch, "list_authorities", list_authorities)
    monkeypatch.setattr(own_certificates, "list_own_certificates", list_authorities)
    for module in (connections, watch):
        monkeypatch.setattr(module, "list_sas", list_sas)
    charon: Any = None
    session: Any = object()
    followed = CharonWatch(charon, {"gre1": "dmvpn"}, Telemetry())
    followed._session = session
    followed._identities.begin()
    await followed._refresh(session)
    listed[:] = [replace(SA, name="other", state="CONNECTING")]
    await followed._refresh(session)
    method = Authentication.PUBLIC_KEY
    for _ in range(3):
        await followed._refresh(session)
    listed[:] = [SA]
    await followed._refresh(session)
    peers = followed.peers_at("gre1", NBMA)
    assert peers is not None
    assert [peer.unproven for peer in peers] == [True]
