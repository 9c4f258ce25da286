"""Two real charons that reach each other, each in namespaces of its own, with ESP in user space (kernel-libipsec)."""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dmvpn_agent.adapters.charon import ViciCharon
from dmvpn_agent.core.sa import IkeSa
from dmvpn_agent.service.charon import list_sas
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.vici import Section
from factories import authority_pem, der, key
from fakes.waiting import until

CHARON = Path("/usr/lib/ipsec/charon")
PLUGINS = Path("/usr/lib/ipsec/plugins")
THERE = (
    os.geteuid() == 0
    and CHARON.exists()
    and (PLUGINS / "libstrongswan-kernel-libipsec.so").exists()
    and Path("/dev/net/tun").exists()
    and all(shutil.which(program) for program in ("ip", "unshare"))
)
STRONGSWAN_CONF = """
charon {{
    load_modular = no
    load = random nonce aes sha1 sha2 x509 revocation constraints pubkey pkcs1 pkcs8 pem openssl hmac kdf gcm \
kernel-libipsec kernel-netlink socket-default vici
    make_before_break = {make_before_break}
    plugins {{ vici {{ socket = unix://{vici} }} }}
    filelog {{ file {{ path = {log} }} }}
}}
"""


class Side:
    """One charon; ``host`` is its address, ``inner`` what its tunnel carries, ``certificate`` its own."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"side{number}"
        self.space = f"charon-{os.getpid()}-{number}"
        self.host, self.inner = f"203.0.113.{number}", f"10.0.0.{number}"
        self.certificate = der(name=self.name)
        self.vici = folder / f"{self.name}.vici"
        self._conf = folder / f"{self.name}.conf"
        self._log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, make_before_break: bool) -> None:
        self.vici.unlink(missing_ok=True)
        self._conf.write_text(
            STRONGSWAN_CONF.format(
                vici=self.vici, log=self._log, make_before_break="yes" if make_before_break else "no"
            )
        )
        inside = f"mount -t tmpfs tmpfs /run && exec {CHARON}"
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.space, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
             inside],
            env={**os.environ, "STRONGSWAN_CONF": str(self._conf)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        await until(self.vici.is_socket)

    async def load(self, other: "Side") -> None:
        """Give it its certificate and key, the CA, and the connection to the other side."""
        pem = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        child = {"esp_proposals": ["aes128-sha256"], "mode": "tunnel",
                 "local_ts": [f"{self.inner}/32"], "remote_ts": [f"{other.inner}/32"]}  # fmt: skip
        own = x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)
        connection = {
            "version": "2", "local_addrs": [self.host], "remote_addrs": [other.host], "encap": "yes", "mobike": "no",
            "proposals": ["aes128-sha256-ecp256"],
            "local-1": {"auth": "pubkey", "certs": [own]}, "remote-1": {"auth": "pubkey"},
            "children": {"dmvpn": child},
        }  # fmt: skip
        await self.ask("load-cert", {"type": "X509", "flag": "CA", "data": authority_pem()})
        await self.ask("load-key", {"type": "any", "data": pem})
        await self.ask("load-conn", {"dmvpn": connection})

    async def ask(self, command: str, message: Section) -> Section:
        async with ViciCharon(self.vici, Telemetry()).session() as session:
            return await session.request(command, message)

    async def sas(self) -> list[IkeSa]:
        async with ViciCharon(self.vici, Telemetry()).session() as session:
            return await list_sas(session)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@asynccontextmanager
async def two_charons(folder: Path, *, make_before_break: bool = True) -> AsyncIterator[tuple[Side, Side]]:
    """Start them, and stop them at the end."""
    one, other = sides = Side(folder, 1), Side(folder, 2)
    try:
        for side in sides:
            _ip("netns", "add", side.space)
        _ip("-n", one.space, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", other.space)
        for side in sides:
            _ip("-n", side.space, "addr", "add", f"{side.host}/24", "dev", "v0")
            _ip("-n", side.space, "addr", "add", f"{side.inner}/32", "dev", "lo")
            for link in ("lo", "v0"):
                _ip("-n", side.space, "link", "set", link, "up")
            await side.start(make_before_break)
        for side, peer in ((one, other), (other, one)):
            await side.load(peer)
        yield sides
    finally:
        for side in sides:
            side.stop()
            subprocess.run(["ip", "netns", "del", side.space], check=False, capture_output=True)
