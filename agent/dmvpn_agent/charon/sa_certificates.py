"""The certificate that each IKE_SA was authenticated with, as the agent comes to know it.

A charon with Alpine's patches lists it with the IKE_SA; without them the bridge has it. nhrpd is no such source: it
holds none of 2048 bytes and more, and asks nothing when a peer comes back with a renewed one.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate

#: Seconds that the source may take. Revocations are enforced after it, and on a disk that hangs they must be too.
READ_TIMEOUT = 2.0


class CertificateSource(Protocol):
    """Certificates by IKE_SA, kept by somebody else."""

    def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        """Return the peers' certificates (DER) of these IKE_SAs, as far as they are known. Never raises.

        Empty for an IKE_SA whose certificate was looked for and not found. It is called in a thread of its own.
        """


class SaCertificates:
    """Remembers what it has found, for the IKE_SAs that there are."""

    def __init__(self, source: CertificateSource | None) -> None:
        self._source = source
        self._found: dict[str, Certificate | BadCertificate] = {}
        self._absent: frozenset[str] = frozenset()
        self._reading: asyncio.Future[dict[str, Certificate | BadCertificate | None]] | None = None

    async def refresh(self, sas: Iterable[IkeSa]) -> None:
        """Ask for the certificates that are not known; those that do not come in time are asked for the next time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_TIMEOUT):
                await self._refresh(tuple(sas))

    async def _refresh(self, sas: tuple[IkeSa, ...]) -> None:
        # One thread at a time: those that hang would take all that there are.
        while self._reading is not None and not self._reading.done():
            await asyncio.wait((self._reading,))
        lacking = [sa.spis for sa in sas if sa.spis not in self._found and not sa.remote_certificate]
        if lacking and self._source is not None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(_read, self._source, lacking))
            read = await asyncio.shield(self._reading)
            # Not in one with the await: a look meanwhile makes another dictionary of it.
            self._found |= {spis: one for spis, one in read.items() if one is not None}
            self._absent = frozenset(spis for spis, one in read.items() if one is None)

    def update(self, sas: Iterable[IkeSa]) -> None:
        """Take up the IKE_SAs that there are now."""
        here = {sa.spis: sa for sa in sas}
        self._found = {spis: one for spis, one in self._found.items() if spis in here}
        self._find(here.values())

    def of(self, sas: Iterable[IkeSa]) -> tuple[Certificate, ...]:
        """Return the certificates of these IKE_SAs that are known and can be read."""
        wanted = tuple(sas)
        self._find(wanted)
        found = (self._found.get(sa.spis) for sa in wanted)
        return tuple(one for one in found if isinstance(one, Certificate))

    def are_known(self, sas: Iterable[IkeSa]) -> bool:
        """Tell whether no certificate of these IKE_SAs is awaited: each is known, unreadable or was not found."""
        return all(sa.spis in self._found or sa.spis in self._absent for sa in sas)

    def _find(self, sas: Iterable[IkeSa]) -> None:
        for sa in sas:
            if sa.spis not in self._found and sa.remote_certificate:
                self._found[sa.spis] = read_certificate(sa.remote_certificate)


def _read(source: CertificateSource, spis: Collection[str]) -> dict[str, Certificate | BadCertificate | None]:
    return {one: read_certificate(der) if der else None for one, der in source.load(spis).items()}
