"""Reads the state of charon for ``dmvpn-agent doctor``, and whether AppArmor lets swanctl reach it."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from dmvpn_agent.bridge.authority_files import IsOurs
from dmvpn_agent.charon.commands import (
    list_authorities,
    list_connections,
    list_own_certificates,
    list_plugins,
    list_sas,
)
from dmvpn_agent.charon.commands import version as charon_version
from dmvpn_agent.charon.events import PATCHED_EVENT
from dmvpn_agent.charon.sa import ChildSa, IkeSa, circuits
from dmvpn_agent.charon.vici_client import ViciSession
from dmvpn_agent.crls.distribution_points import distribution_points
from dmvpn_agent.doctor.node import CharonView, OwnCertificate, SaView
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate

_APPARMOR = Path("/sys/kernel/security/apparmor/profiles")
_SWANCTL_PROFILE = tuple(Path("/etc/apparmor.d", name) for name in ("usr.sbin.swanctl", "local/usr.sbin.swanctl"))


async def read_charon(path: Path, timeout: float, is_ours: IsOurs) -> CharonView:
    """Ask charon what it has loaded, and for its SAs. Raises ``OSError``, ``CharonLost``, ``CommandFailed``.

    ``is_ours(certificate, others)``: whether a CA of the operator issued a certificate, perhaps by way of the others.
    """
    session = ViciSession(*await asyncio.open_unix_connection(path), Telemetry(), timeout, max_waiting_events=1000)
    try:
        release = await charon_version(session)
        patched = await session.register(PATCHED_EVENT)
        connections = await list_connections(session)
        plugins = await list_plugins(session)
        own = [read_certificate(der) for der in await list_own_certificates(session)]
        sas = await list_sas(session)
        authorities = await list_authorities(session)
    finally:
        with suppress(OSError):
            await session.close()
    modes = {one.name: one.modes.get(one.name) for one in connections}
    methods = {one.name: one.authentication for one in connections}
    return CharonView(release, patched, modes, tuple(
        OwnCertificate(one.subject, one.not_before, one.not_after, distribution_points([one]))
        for one in own
        if isinstance(one, Certificate)
    ), plugins, methods, tuple(_sa(*circuit) for circuit in circuits(sas).values()),
        frozenset(one.name for one in connections if not one.ca_names or not all(one.ca_names)),
        tuple(sorted({_subject(one) for one in authorities if not is_ours(one, authorities)})))  # fmt: skip


def _subject(der: bytes) -> str:
    read = read_certificate(der)
    return read.subject if isinstance(read, Certificate) else f"one that cannot be read ({read.why})"


def _sa(sa: IkeSa, child: ChildSa) -> SaView:
    algorithms = child.algorithms
    peer = str(sa.remote_host)
    return SaView(sa.name, peer, algorithms.encryption, algorithms.integrity, child.udp_encapsulated)


async def swanctl_confined(socket: Path) -> bool:
    """Tell whether AppArmor enforces a profile of swanctl whose files do not name charon's socket."""
    try:
        profiles = _APPARMOR.read_text()
    except FileNotFoundError:
        return False
    if not re.search(r"swanctl \(enforce\)", profiles):
        return False
    rules = "\n".join(file.read_text() for file in _SWANCTL_PROFILE if file.exists())
    return re.search(rf"^\s*{re.escape(str(socket))}\s+rw,", rules, re.MULTILINE) is None
