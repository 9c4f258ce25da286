"""How the peer of each IKE_SA authenticated, although charon lists the method of connections only."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from dmvpn_agent.charon.connections import Connections
from dmvpn_agent.charon.sa import Authentication, IkeSa
from dmvpn_agent.charon.session import CommandFailed, Read
from dmvpn_agent.charon.vici import Section

CERTIFICATE, KEY, OTHER = Authentication.PUBLIC_KEY, Authentication.PRE_SHARED_KEY, Authentication.OTHER
BY = {CERTIFICATE: b"public key", KEY: b"pre-shared key", OTHER: b"EAP"}


class Charon:
    """A session; ``connections`` may contain a name twice, from two configuration backends."""

    def __init__(self, *connections: tuple[str, Authentication]) -> None:
        self.connections = list(connections)
        self.there: list[str] = []
        self.ca_names: list[bytes] = []
        self.refuses = False

    async def request(self, command: str, message: Section) -> Section:
        raise AssertionError(command)

    async def register(self, event: str) -> bool:
        return True

    async def events(self) -> AsyncIterator[tuple[str, Section]]:
        return
        yield

    async def stream(
        self, command: str, message: Section, event: str, read: Callable[[Section], Iterable[Read]]
    ) -> list[Read]:
        if self.refuses and command == "list-conns":
            raise CommandFailed("no")
        if command == "list-conns":
            rounds = [(name, {"class": BY[by], "cacerts": self.ca_names}) for name, by in self.connections]
            return [one for name, part in rounds for one in read({name: {"remote-1": part}})]
        return [one for spi in self.there for one in read({"dmvpn": _section(spi)})]


def _section(spi: str) -> Section:
    texts = {"uniqueid": "1", "state": "CONNECTING", "local-host": "203.0.113.1", "remote-host": "203.0.113.2",
             "initiator-spi": spi, "responder-spi": "0"}  # fmt: skip
    return {key: value.encode() for key, value in texts.items()}


def sa(spi: str, name: str = "dmvpn") -> IkeSa:
    host = ip_address("203.0.113.2")
    return IkeSa(1, name, "ESTABLISHED", host - 1, host, 500, "CN=hub", "CN=spoke1", spi, "0")


async def begun(charon: Charon) -> Connections:
    connections = Connections()
    await connections.update(charon, ())
    return connections


@pytest.mark.parametrize("by", [CERTIFICATE, KEY, OTHER])
async def test_a_new_ike_sa_has_the_method_of_its_connection(by: Authentication) -> None:
    """The connection had the same method before and after."""
    charon = Charon(("dmvpn", by))
    connections = await begun(charon)
    await connections.update(charon, [sa("a")])
    assert connections.of(sa("a")) is by


@pytest.mark.parametrize("name", ["office", "dmvpn2", "DMVPN", "dmvpn ", ""])
async def test_a_connection_is_found_by_its_whole_name(name: str) -> None:
    """Similar names are other connections."""
    charon = Charon(("dmvpn", CERTIFICATE))
    connections = await begun(charon)
    await connections.update(charon, [sa("a", name)])
    assert connections.of(sa("a", name)) is OTHER


async def test_the_method_of_an_ike_sa_older_than_the_first_list_is_unknown() -> None:
    """This holds whether it was established by then or afterwards; the method of a later one is known."""
    charon = Charon(("dmvpn", CERTIFICATE))
    charon.there = ["a", "b"]
    connections = Connections()
    await connections.update(charon, [sa("a")])
    await connections.update(charon, [sa("b"), sa("c")])
    assert [connections.of(sa(spi)) for spi in "abc"] == [OTHER, OTHER, CERTIFICATE]


@pytest.mark.parametrize("former", [KEY, OTHER, None])
async def test_the_method_of_an_ike_sa_older_than_the_reload_is_unknown(former: Authentication | None) -> None:
    """A long exchange, such as EAP, ends under the name of the reloaded connection with the old method."""
    charon = Charon(*[("dmvpn", former)] if former else [])
    connections = await begun(charon)
    charon.connections = [("dmvpn", CERTIFICATE)]
    charon.there = ["slow"]
    await connections.update(charon, (), read=True)
    await connections.update(charon, [sa("slow"), sa("later")])
    assert [connections.of(sa(spi)) for spi in ("slow", "later")] == [OTHER, CERTIFICATE]


async def test_who_began_before_the_connection_named_its_cas_proved_nothing() -> None:
    """charon may have taken a certificate of another CA, and waited for its CRL until the reload."""
    charon = Charon(("dmvpn", CERTIFICATE))
    connections = await begun(charon)
    charon.ca_names, charon.there = [b"CN=ours"], ["slow"]
    await connections.update(charon, (), read=True)
    await connections.update(charon, [sa("slow"), sa("later")])
    assert [connections.of(sa(spi)) for spi in ("slow", "later")] == [OTHER, CERTIFICATE]


async def test_a_change_of_another_connection_has_no_effect() -> None:
    """The office's connection changes, the DMVPN's does not."""
    charon = Charon(("dmvpn", CERTIFICATE), ("office", KEY))
    connections = await begun(charon)
    charon.connections[1] = ("office", OTHER)
    charon.there = ["a"]
    await connections.update(charon, [sa("a")])
    assert connections.of(sa("a")) is CERTIFICATE


async def test_a_known_method_stays_when_the_connection_changes() -> None:
    """The connection is reloaded, unloaded, or cannot be listed."""
    charon = Charon(("dmvpn", KEY))
    connections = await begun(charon)
    await connections.update(charon, [sa("a")])
    for now in ([("dmvpn", CERTIFICATE)], [], [("dmvpn", CERTIFICATE), ("dmvpn", KEY)]):
        charon.connections = now
        await connections.update(charon, [sa("a")], read=True)
        assert connections.of(sa("a")) is KEY
    charon.refuses = True
    await connections.update(charon, [sa("b")])
    assert connections.of(sa("b")) is OTHER


async def test_two_connections_of_one_name_with_different_methods_have_no_known_method() -> None:
    """One may come from another configuration backend."""
    charon = Charon(("dmvpn", CERTIFICATE), ("dmvpn", KEY))
    assert (await begun(charon)).now("dmvpn") is OTHER


async def test_a_rekeyed_ike_sa_keeps_its_method() -> None:
    """The peer can rekey at any time, and does not authenticate then."""
    charon = Charon(("dmvpn", KEY))
    connections = await begun(charon)
    await connections.update(charon, [sa("key")])
    charon.connections, charon.there = [("dmvpn", CERTIFICATE)], ["slow"]
    await connections.update(charon, (), read=True)
    for spi in ("key", "slow"):
        connections.move(sa(spi).spis, sa(f"{spi}-new").spis)
    await connections.update(charon, [sa("key-new"), sa("slow-new")])
    assert [connections.of(sa(spi)) for spi in ("key-new", "slow-new")] == [KEY, OTHER]


async def test_an_ike_sa_is_forgotten_after_two_lists_without_it() -> None:
    """One list may be older than the IKE_SA, and the connection may have changed before the next list."""
    charon = Charon(("dmvpn", KEY))
    connections = await begun(charon)
    await connections.update(charon, [sa("a")])
    connections.prune([])
    assert connections.of(sa("a")) is KEY
    connections.prune([])
    assert connections.of(sa("a")) is OTHER


async def test_after_an_upgrade_the_method_is_known_if_all_ike_sas_were_by_public_key() -> None:
    """The connection is unchanged since the former program, and none of its IKE_SAs was by another method."""
    charon = Charon(("dmvpn", CERTIFICATE), ("keys", KEY))
    former = await begun(charon)
    await former.update(charon, [sa("a"), sa("b", "keys")])
    assert former.pure([sa("a"), sa("b", "keys")]) == {"dmvpn"}
    assert former.pure([replace(sa("b"), name="dmvpn")]) == set()
    assert former.pure([sa("unseen")]) == set()
    for handed, then in ((CERTIFICATE, CERTIFICATE), (KEY, OTHER)):
        connections = Connections({"dmvpn": handed, "keys": KEY})
        charon.there = ["new"]
        await connections.update(charon, [sa("new")])
        assert connections.of(sa("new")) is then


@pytest.mark.parametrize("trusts_first", [True, False])
async def test_trusts_first_accepts_the_ike_sas_of_the_first_list(trusts_first: bool) -> None:
    """The agent assumes that connections did not change before it started. After a later change it does not."""
    charon = Charon(("dmvpn", CERTIFICATE))
    charon.there = ["a"]
    connections = Connections(trusts_first=trusts_first)
    await connections.update(charon, [sa("a")])
    assert connections.of(sa("a")) is (CERTIFICATE if trusts_first else OTHER)
    charon.connections, charon.there = [("dmvpn", KEY)], ["b"]
    await connections.update(charon, [sa("b")])
    assert connections.of(sa("b")) is OTHER
