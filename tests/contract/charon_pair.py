"""Two real charons that reach each other, with ESP in user space (kernel-libipsec)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contract.charons import RealCharon, connection, load_credentials
from dmvpn_agent.charon.vici import Section
from factories import authority_pem, der, key


class Side(RealCharon):
    """One of them; ``host`` is its address, ``inner`` what its tunnel carries, ``certificate`` its own in DER."""

    def __init__(self, folder: Path, number: int, *, make_before_break: bool) -> None:
        settings = f"make_before_break = {'yes' if make_before_break else 'no'}"
        super().__init__(folder, f"side{number}", sas=True, settings=settings)
        self.host, self.inner = f"203.0.113.{number}", f"10.0.0.{number}"
        self.certificate = der(name=self.space.name)

    def link(self, other: "Side") -> None:
        """Join the two by an Ethernet cable; each then has its addresses at its end."""
        for side in (self, other):
            side.make_space()
        peer = ("peer", "name", "eth0", "netns", str(other.space.pid))
        self.space.run("ip", "link", "add", "eth0", "type", "veth", *peer)
        for side in (self, other):
            side.space.run("ip", "addr", "add", f"{side.host}/24", "dev", "eth0")
            side.space.run("ip", "addr", "add", f"{side.inner}/32", "dev", "lo")
            side.space.run("ip", "link", "set", "eth0", "up")

    async def load(self, other: "Side") -> None:
        """Give it its key, the CA, and the connection to the other side."""
        pem = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        async with self.session() as session:
            await load_credentials(session, pem, authority_pem())
        await self.show(self.certificate, other)

    async def show(self, certificate: bytes, other: "Side", **identity: str) -> None:
        """Have it show this certificate (DER) to the other side, as another identity with ``id``."""
        pem = DER_cert_to_PEM_cert(certificate)
        own: Section = {"certs": [pem], **identity}
        made: dict[str, Any] = connection(own, self.host, other.host, f"{self.inner}/32", f"{other.inner}/32")
        await self.ask("load-conn", {"dmvpn": made})


@asynccontextmanager
async def two_charons(folder: Path, *, make_before_break: bool = True) -> AsyncIterator[tuple[Side, Side]]:
    """Start them, and stop them at the end."""
    one, other = sides = tuple(Side(folder, number, make_before_break=make_before_break) for number in (1, 2))
    try:
        one.link(other)
        for side in sides:
            await side.start()
        for side, peer in ((one, other), (other, one)):
            await side.load(peer)
        yield one, other
    finally:
        for side in sides:
            side.stop()
