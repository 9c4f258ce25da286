"""A real charon for the contract tests and the bench, in namespaces of its own.

Where the running kernel has no ESP, charon's own in user space (kernel-libipsec) takes its place: SAs, events and
certificates are charon's, only that the mode is tunnel, which is all that it can. Nothing of this leaves its
network namespace, but for those that are linked.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.charon.commands import list_sas
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonSession
from dmvpn_agent.charon.vici import Section
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_lab import strongswan
from dmvpn_lab.namespace import Namespace
from fakes.waiting import until

#: The machine's own, charon or charon-systemd; ``CHARON`` names another build, without patches, to ask the same.
CHARON = strongswan.charon()
PLUGINS = "random nonce aes sha1 sha2 x509 revocation constraints pubkey pkcs1 pkcs8 pem openssl hmac kdf gcm"
#: For peers that do not authenticate by certificate.
PLUGINS += " md5 eap-md5"
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
swanctl {{
    socket = unix://{socket}
    load = random pem pkcs1 pkcs8 x509 pubkey openssl
}}
"""


def needs_charon(*, sas: bool = False) -> pytest.MarkDecorator:
    """Return the mark of a test that needs a charon to start; with ``sas``, one that can have CHILD_SAs anywhere."""
    return pytest.mark.skipif(
        not available(sas=sas), reason=f"needs root, unshare and {CHARON}{' with kernel-libipsec' if sas else ''}"
    )


def available(*, sas: bool = False) -> bool:
    """Tell whether there is a charon to start here; with ``sas``, one that can have CHILD_SAs on any kernel."""
    there = os.geteuid() == 0 and CHARON.exists() and shutil.which("unshare") is not None
    libipsec = strongswan.find_plugin(CHARON, "kernel-libipsec") is not None
    return there and (not sas or (libipsec and Path("/dev/net/tun").exists()))


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
    def _configured(self) -> tuple[str, str]:
        return "env", f"STRONGSWAN_CONF={self._conf}"

    def swanctl(self, *words: str) -> str:
        """Run swanctl for it and return what that printed. Raises ``CommandError``."""
        return self.space.run(*self._configured, "swanctl", *words)

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
            self._process = self.space.spawn((*self._configured, str(CHARON)), nowhere)
        await until(self._accepts)

    def _accepts(self) -> bool:
        """Tell whether charon accepts connections: its socket is there a moment earlier."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.path)) == 0

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

    async def ask(self, command: str, message: Section) -> Section:
        """Give it a command, and return its answer."""
        async with self.session() as session:
            return await session.request(command, message)

    async def sas(self) -> list[IkeSa]:
        """Return its IKE_SAs."""
        async with self.session() as session:
            return await list_sas(session)


@asynccontextmanager
async def real_charon(folder: Path) -> AsyncIterator[Path]:
    """Start a charon without SAs, and stop it at the end; return where its socket is."""
    charon = RealCharon(folder)
    await charon.start()
    try:
        yield charon.path
    finally:
        charon.stop()


async def load_credentials(session: CharonSession, key: bytes, authority: bytes) -> None:
    """Give it a key and a CA certificate, both in PEM."""
    await session.request("load-key", {"type": "any", "data": key})
    await session.request("load-cert", {"type": "X509", "flag": "CA", "data": authority})


def connection(identity: Section, local: object, remote: object, inside: str, other_side: str) -> dict[str, Any]:
    """Return a connection with a child ``dmvpn``, by certificates; ``identity`` is what it shows.

    kernel-libipsec routes what a tunnel is for into it, so ``inside`` and ``other_side`` must not be NBMA addresses.
    """
    child = {"local_ts": [inside], "remote_ts": [other_side], "esp_proposals": ["aes128gcm16"]}
    return {
        "version": "2",
        "local_addrs": [str(local)],
        "remote_addrs": [str(remote)],
        "proposals": ["aes128gcm16-prfsha256-ecp256"],
        "mobike": "no",
        "local": {"auth": "pubkey", **identity},
        "remote": {"auth": "pubkey"},
        "children": {"dmvpn": child},
    }
