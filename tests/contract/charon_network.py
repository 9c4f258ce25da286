"""A real charon that is a hub, and one that plays all its spokes."""

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contract.charons import RealCharon, connection, load_credentials
from dmvpn_agent.charon.commands import list_sas
from dmvpn_lab.issued import Credentials
from guide_ca import Authority

HUB = IPv4Address("198.18.0.1")
_INSIDE = "10.254.0.1/32"


class Network:
    """A hub and, in one other charon, its spokes: each with an address, a certificate and a connection of its own.

    ``settings`` are lines of both charons' configuration, ``connection`` keys of the hub's connection.
    """

    def __init__(self, folder: Path, spokes: int, settings: str = "", **connection: str) -> None:
        self.hub = RealCharon(folder, "hub", sas=True, settings=settings)
        self.spokes = RealCharon(folder, "spokes", sas=True, settings=settings)
        self._connection = connection
        self.authority = Authority()
        self.ca_pem = b""
        self.certificates: dict[IPv4Address, bytes] = {}
        self._credentials = {address(number): self._issue(number) for number in range(spokes)}

    def _issue(self, number: int) -> Credentials:
        credentials = self.authority.issue(f"spoke{number}", units(number))
        self.ca_pem = credentials.ca_certificate
        certificate = x509.load_pem_x509_certificate(credentials.certificate)
        self.certificates[address(number)] = certificate.public_bytes(Encoding.DER)
        return credentials

    async def start(self) -> None:
        """Start both and load their connections; nobody has begun yet."""
        self._link()  # before: charon misses some of a thousand addresses that come at once
        await asyncio.gather(self.hub.start(), self.spokes.start())
        hub = self.authority.issue("hub", ())
        async with self.hub.session() as session:
            await load_credentials(session, hub.key, hub.ca_certificate)
            to_spokes = connection({"certs": [hub.certificate]}, HUB, "%any", _INSIDE, "10.255.0.0/16")
            await session.request("load-conn", {"dmvpn": to_spokes | self._connection})
        async with self.spokes.session() as session:
            for number, (source, credentials) in enumerate(self._credentials.items()):
                await load_credentials(session, credentials.key, credentials.ca_certificate)
                own = {"certs": [credentials.certificate]}
                to_hub = connection(own, source, HUB, f"{protocol_address(number)}/32", _INSIDE)
                await session.request("load-conn", {_name(source): to_hub})

    async def initiate(self, sources: Iterable[IPv4Address]) -> None:
        """Have these spokes begin, without waiting."""
        async with self.spokes.session() as session:
            for source in sources:
                await session.request("initiate", {"ike": _name(source), "child": "dmvpn", "timeout": "-1"})

    async def come_back(self, source: IPv4Address) -> None:
        """Have a spoke begin again as soon as it has lost its IKE_SA."""
        async with self.spokes.session() as session:
            while any(sa.name == _name(source) for sa in await list_sas(session)):
                await asyncio.sleep(0.01)
        await self.initiate([source])

    async def ask_spoke(self, command: str, source: IPv4Address, **message: str) -> None:
        """Give a spoke's charon a command on its connection, as ``terminate`` or ``rekey``."""
        async with self.spokes.session() as session:
            await session.request(command, {"ike": _name(source), **message})

    def stop(self) -> None:
        """End everything."""
        self.hub.stop()
        self.spokes.stop()

    def _link(self) -> None:
        self.hub.make_space()
        self.spokes.make_space()
        self.spokes.space.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
                              str(self.hub.space.pid))  # fmt: skip
        self.hub.space.run("ip", "addr", "add", f"{HUB}/16", "dev", "eth0")
        self.hub.space.run("ip", "addr", "add", _INSIDE, "dev", "lo")
        batch = "".join(
            f"addr add {source}/16 dev eth0\naddr add {protocol_address(number)}/32 dev lo\n"
            for number, source in enumerate(self._credentials)
        )
        self.spokes.space.run("ip", "-batch", "-", text=batch)
        for space in (self.hub.space, self.spokes.space):
            space.run("ip", "link", "set", "eth0", "up")


def address(number: int) -> IPv4Address:
    """Return a spoke's NBMA address."""
    return HUB + 256 + number


def units(number: int) -> tuple[str, ...]:
    """Return the OUs of a spoke's certificate."""
    return f"GRE={protocol_address(number)}", f"AS={4200000000 + number}"


def protocol_address(number: int) -> IPv4Address:
    """Return a spoke's protocol address; the hub's own is 10.255.0.1."""
    return IPv4Address("10.255.0.2") + number


def _name(source: IPv4Address) -> str:
    return f"spoke-{source}"
