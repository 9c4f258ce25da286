"""The certificate of each IKE_SA's peer.

A charon with Alpine's patches lists it with the IKE_SA; for other charons the bridge finds it. The certificate that
nhrpd sends does not suffice: nhrpd may still show a former peer's, holds none of 2048 bytes or more, and sends no
event when a peer returns with a renewed one.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate

#: Seconds that the source may take. Revocations are enforced afterwards, even if the bridge and the disk hang.
READ_TIMEOUT = 2.5


class CertificateSource(Protocol):
    """Certificates by IKE_SA, found by another process."""

    async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        """Return the peers' certificates (DER) by SPIs, as far as they are known. Never raises.

        Empty bytes mean that the bridge found no certificate.
        """


class SaCertificates:
    """The certificates of the present IKE_SAs, as far as they were found."""

    def __init__(self, source: CertificateSource | None) -> None:
        self._source = source
        self._found: dict[str, Certificate | BadCertificate] = {}
        self._absent: frozenset[str] = frozenset()
        #: Grows whenever the source has shown certificates that were not known, or that there are none.
        self.version = 0
        self._loading = asyncio.Lock()

    async def refresh(self, sas: Iterable[IkeSa]) -> None:
        """Load the certificates that are not known yet; what takes too long is loaded by a later refresh."""
        if self._source is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_TIMEOUT), self._loading:
                await self._load(self._source, tuple(sas))

    async def _load(self, source: CertificateSource, sas: tuple[IkeSa, ...]) -> None:
        missing = [sa.spis for sa in sas if sa.spis not in self._found and not sa.remote_certificate]
        if not missing:
            return
        loaded = await source.load(missing)
        read = await asyncio.to_thread(_read, loaded)  # a thousand take 80 ms
        # Not in the same statement as the await: ``update`` may replace the dictionary meanwhile.
        found = {spis: one for spis, one in read.items() if one is not None}
        absent = (self._absent - read.keys()) | (read.keys() - found.keys())
        self.version += bool(found) or absent != self._absent
        self._found |= found
        self._absent = absent

    def update(self, sas: Iterable[IkeSa]) -> None:
        """Forget the certificates of all IKE_SAs but these."""
        present = {sa.spis: sa for sa in sas}
        self._found = {spis: one for spis, one in self._found.items() if spis in present}
        self._absent &= present.keys()
        self._read_listed(present.values())

    def of(self, sas: Iterable[IkeSa]) -> tuple[Certificate, ...]:
        """Return the readable certificates of these IKE_SAs, as far as they are known."""
        wanted = tuple(sas)
        self._read_listed(wanted)
        found = (self._found.get(sa.spis) for sa in wanted)
        return tuple(one for one in found if isinstance(one, Certificate))

    def has_none(self, sa: IkeSa) -> bool:
        """Tell whether the bridge found no certificate for an IKE_SA, or the one that there is cannot be read."""
        self._read_listed((sa,))
        found = self._found.get(sa.spis)
        return isinstance(found, BadCertificate) or (found is None and sa.spis in self._absent)

    def awaits(self, sa: IkeSa) -> bool:
        """Tell whether the source has yet to say which certificate an IKE_SA has, or that there is none."""
        self._read_listed((sa,))
        return self._source is not None and not self.are_known((sa,))

    def are_known(self, sas: Iterable[IkeSa]) -> bool:
        """Tell whether each of these IKE_SAs' certificates is known, unreadable or was not found."""
        return all(sa.spis in self._found or sa.spis in self._absent for sa in sas)

    def _read_listed(self, sas: Iterable[IkeSa]) -> None:
        for sa in sas:
            if sa.spis not in self._found and sa.remote_certificate:
                self._found[sa.spis] = read_certificate(sa.remote_certificate)


def _read(loaded: Mapping[str, bytes]) -> dict[str, Certificate | BadCertificate | None]:
    return {spis: read_certificate(der) if der else None for spis, der in loaded.items()}
