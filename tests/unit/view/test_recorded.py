"""What the agent changes in FRR, charon and the kernel is written into the history, once it is changed."""

from collections.abc import Awaitable, Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch

import pytest

from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.kernel.iptables.program import Iptables, IptablesError
from dmvpn_agent.kernel.links.changes import SetMtu
from dmvpn_agent.kernel.links.kernel_links import KernelLinks
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.routes.netlink_entries import NetlinkEntries
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables
from dmvpn_agent.kernel.routes.stale_entries import Entry as StaleEntry
from dmvpn_agent.kernel.routes.stale_entries import EntryKind as StaleKind
from dmvpn_agent.kernel.routes.tables import Change, Route, Verb
from dmvpn_agent.kernel.xfrm_socket import XfrmSocket
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.view.history import TABLE, Filter, History
from dmvpn_agent.view.recorded import HistoryWriter, RecordedCharon, RecordedHubNames, RecordedNftables
from dmvpn_agent.view.recorded_kernel import (
    RecordedEntries,
    RecordedIptables,
    RecordedLinks,
    RecordedTables,
    RecordedXfrm,
)
from factories import Clock

PEER = ip_address("10.255.0.2")
ROUTE = Change(Verb.ADD, Route(7700, IPv4Network("0.0.0.0/0"), "eth0", IPv4Address("192.0.2.1")))
HUB = MagicMock(interface="gre1")
HUB.name = "hub.example.net"


async def _delete_sa(writer: HistoryWriter) -> None:
    RecordedXfrm(writer).delete(MagicMock(spi="c0ffee00", source="192.0.2.1", destination="192.0.2.2"))


async def _load_crls(writer: HistoryWriter) -> None:
    with patch.object(CharonWatch, "__init__", return_value=None):
        charon = RecordedCharon(writer)
    charon.connected = True
    await charon.load_crls((b"1", b"2"))


async def _resolve(writer: HistoryWriter) -> None:
    await RecordedHubNames(writer, MagicMock(), MagicMock(), MagicMock()).check(HUB)


#: The method of the port, what is done by way of the wrapper, and the entry.
CHANGES: tuple[tuple[type, str, Callable[[HistoryWriter], Awaitable[None]], tuple[str, str, str]], ...] = (
    (KernelLinks, "apply", lambda writer: RecordedLinks(writer).apply(SetMtu("gre1", 1400)),
     ("kernel", "link", "ip link set gre1 mtu 1400")),
    (Iptables, "apply", lambda writer: RecordedIptables(writer).apply(6, "*security\nCOMMIT\n"),
     ("kernel", "ip6tables", "*security; COMMIT")),
    (Nftables, "change", lambda writer: RecordedNftables(writer).change("add element\n"),
     ("kernel", "nftables", "add element")),
    (NetlinkTables, "apply", lambda writer: RecordedTables(writer).apply((ROUTE,) * 10),
     ("kernel", "routes", f"{'; '.join([str(ROUTE)] * 8)}; 2 more")),
    (NetlinkEntries, "delete",
     lambda writer: RecordedEntries(writer, ()).delete(StaleEntry(StaleKind.ROUTE, "gre1", PEER)),
     ("kernel", "stale", "remove nhrpd's route 10.255.0.2 on gre1")),
    (XfrmSocket, "delete", _delete_sa,
     ("kernel", "stale", "delete the SA c0ffee00 from 192.0.2.1 to 192.0.2.2, which charon does not know")),
    (CharonWatch, "load_crls", _load_crls, ("charon", "load-cert", "2 CRLs were sent to charon")),
    (HubNames, "check", _resolve, ("frr", "nhrpd", "the hub hub.example.net on gre1 is resolved again")),
)  # fmt: skip


@pytest.fixture
def history(tmp_path: Path, clock: Clock) -> Iterator[History]:
    history = History(Store(tmp_path / "history.sqlite", TABLE), clock)
    history.open()
    yield history
    history.close()


def _writer(history: History) -> HistoryWriter:
    return HistoryWriter(history, {str(PEER): "spoke1"}.get)  # type: ignore[arg-type]


@pytest.mark.parametrize(("port", "method", "change", "entry"), CHANGES, ids=[one[0].__name__ for one in CHANGES])
async def test_a_change_is_an_entry(
    port: type, method: str, change: Any, entry: tuple[str, str, str], history: History
) -> None:
    """With the name of the peer that it is about, if it is about one."""
    made: Any = MagicMock(return_value=None) if port is XfrmSocket else AsyncMock(return_value=True)
    with patch.object(port, method, made):
        await change(_writer(history))
    made.assert_called_once()
    (found,) = history.find(Filter())
    assert (found.kind, found.what, found.text) == entry
    assert found.peer == ("spoke1" if port is NetlinkEntries else "")


async def test_a_refused_change_is_no_entry(history: History) -> None:
    """It goes on as the failure that it is."""
    with patch.object(Iptables, "apply", AsyncMock(side_effect=IptablesError("no"))), pytest.raises(IptablesError):
        await RecordedIptables(_writer(history)).apply(4, "x")
    assert history.find(Filter()) == []
