"""Real charons for the contract tests and the bench: one alone, or a hub and a charon that plays all its spokes.

Where the running kernel has no ESP, charon's own in user space (kernel-libipsec) takes its place: SAs, events and
certificates are charon's, only that the mode is tunnel, which is all that it can. Nothing of this leaves a pair of
network namespaces.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.adapters.charon import ViciCharon
from dmvpn_agent.service.charon import CharonSession, list_sas
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_lab.certificates import Authority, Credentials
from dmvpn_lab.namespace import Namespace
from fakes.waiting import until

#: Another build of strongSwan, without patches, can be asked the same.
CHARON = Path(os.environ.get("CHARON", "/usr/lib/ipsec/charon"))
HUB = IPv4Address("198.18.0.1")
PLUGINS = "random nonce aes sha1 sha2 x509 revocation constraints pubkey pkcs1 pkcs8 pem openssl hmac kdf gcm"
_STRONGSWAN_CONF = """
charon {{
    load_modular = no
    load = {plugins} socket-default vici
    install_routes = no
    plugins {{ vici {{ socket = unix://{socket} }} }}
    {settings}
    filelog {{
        log {{
            path = {log}
            flush_line = yes
        }}
    }}
}}
"""
# kernel-libipsec routes what a tunnel is for into it, so that must not be the NBMA addresses themselves.
_INSIDE = "10.254.0.1/32"
_PROPOSAL = "aes128gcm16-prfsha256-ecp256"


def needs_charon(*, sas: bool = False) -> pytest.MarkDecorator:
    """Return the mark of a test that needs a charon to start; with ``sas``, one that can have CHILD_SAs anywhere."""
    return pytest.mark.skipif(
        not available(sas=sas), reason=f"needs root, unshare and {CHARON}{' with kernel-libipsec' if sas else ''}"
    )


def available(*, sas: bool = False) -> bool:
    """Tell whether there is a charon to start here; with ``sas``, one that can have CHILD_SAs on any kernel."""
    there = os.geteuid() == 0 and CHARON.exists() and shutil.which("unshare") is not None
    return there and (not sas or (_has_plugin("kernel-libipsec") and Path("/dev/net/tun").exists()))


def _has_plugin(name: str) -> bool:
    file = f"libstrongswan-{name}.so"
    places = (CHARON.parent / "plugins", *(CHARON.parents[2] / part / "ipsec/plugins" for part in ("lib", "lib64")))
    return any((place / file).exists() for place in places)


class RealCharon:
    """One charon with namespaces of its own, so that its pid file and its ports are nobody else's.

    ``sas``: whether it is to have CHILD_SAs. ``settings`` are lines of its ``charon`` section.
    """

    def __init__(self, folder: Path, name: str = "charon", *, sas: bool = False, settings: str = "") -> None:
        self.path = folder / f"{name}.vici"
        self.log = folder / f"{name}.log"
        self.space = Namespace(name, empty=("/run",))
        self._conf = folder / f"{name}.conf"
        kernel = "kernel-libipsec kernel-netlink" if sas else "kernel-netlink"
        self._conf.write_text(
            _STRONGSWAN_CONF.format(plugins=f"{PLUGINS} {kernel}", socket=self.path, log=self.log, settings=settings)
        )
        self._made = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """charon's process."""
        assert self._process is not None
        return self._process.pid

    def make_space(self) -> None:
        """Make the namespaces, if they are not there."""
        if not self._made:
            self.space.start()
            self._made = True

    async def start(self) -> None:
        """Start charon, in namespaces that are there already or made for it."""
        self.make_space()
        self.path.unlink(missing_ok=True)
        with Path(os.devnull).open("wb") as nowhere:
            argv = ("env", f"STRONGSWAN_CONF={self._conf}", str(CHARON))
            self._process = self.space.spawn(argv, nowhere)
        await until(self.path.is_socket)

    def kill(self) -> None:
        """End charon without giving it a chance to do anything; the namespaces stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End charon and its namespaces."""
        if self._made:
            self.space.stop()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[CharonSession]:
        """Connect to it."""
        async with ViciCharon(self.path, Telemetry()).session() as session:
            yield session


@asynccontextmanager
async def real_charon(folder: Path) -> AsyncIterator[Path]:
    """Start a charon without SAs, and stop it at the end; return where its socket is."""
    charon = RealCharon(folder)
    await charon.start()
    try:
        yield charon.path
    finally:
        charon.stop()


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
            await _load(session, hub)
            await session.request(
                "load-conn", {"dmvpn": _connection(hub, HUB, "%any", _INSIDE, "10.255.0.0/16") | self._connection}
            )
        async with self.spokes.session() as session:
            for number, (source, credentials) in enumerate(self._credentials.items()):
                await _load(session, credentials)
                connection = _connection(credentials, source, str(HUB), f"{protocol_address(number)}/32", _INSIDE)
                await session.request("load-conn", {_name(source): connection})

    async def initiate(self, sources: Iterable[IPv4Address]) -> None:
        """Have these spokes begin, without waiting."""
        async with self.spokes.session() as session:
            for source in sources:
                await session.request("initiate", {"ike": _name(source), "child": "dmvpn", "timeout": "-1"})

    async def come_back(self, source: IPv4Address) -> None:
        """Have a spoke begin again as soon as it has lost its IKE_SA."""
        async with self.spokes.session() as session:
            while await list_sas(session, ike=_name(source)):
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
    """Return a spoke's protocol address."""
    return IPv4Address("10.255.0.1") + number


def _name(source: IPv4Address) -> str:
    return f"spoke-{source}"


async def _load(session: CharonSession, credentials: Credentials) -> None:
    await session.request("load-key", {"type": "any", "data": credentials.key})
    await session.request("load-cert", {"type": "X509", "flag": "CA", "data": credentials.ca_certificate})


def _connection(
    credentials: Credentials, local: IPv4Address, remote: str, inside: str, other_side: str
) -> dict[str, Any]:
    child = {"local_ts": [inside], "remote_ts": [other_side], "esp_proposals": ["aes128gcm16"]}
    return {
        "version": "2",
        "local_addrs": [str(local)],
        "remote_addrs": [remote],
        "proposals": [_PROPOSAL],
        "mobike": "no",
        "local": {"auth": "pubkey", "certs": [credentials.certificate]},
        "remote": {"auth": "pubkey"},
        "children": {"dmvpn": child},
    }
