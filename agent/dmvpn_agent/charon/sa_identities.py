"""Who authenticated in each of the DMVPN's IKE_SAs, how, and by which certificate."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from dmvpn_agent.charon.connections import Connections
from dmvpn_agent.charon.ike_peer import IkePeer, ike_peer, proves
from dmvpn_agent.charon.sa import Authentication, IkeSa
from dmvpn_agent.charon.sa_certificates import CertificateSource, SaCertificates
from dmvpn_agent.charon.session import CharonSession
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.x509.certificate import Certificate

#: How long the bridge may take to find the certificate of a new IKE_SA.
CERTIFICATE_DEADLINE = timedelta(seconds=10)


class SaIdentities:
    """The authenticated peer and the certificate of each IKE_SA."""

    def __init__(self, certificates: CertificateSource | None, clocks: Clocks) -> None:
        # The first list counts as authenticated by the present methods, or a restart of the agent would deny all.
        self._connections = Connections(trusts_first=True)
        self._certificates = SaCertificates(certificates)
        self._clocks = clocks
        #: By SPIs, on the monotonic clock: when the certificate of a new IKE_SA is no longer awaited.
        self._deadlines: dict[str, timedelta] = {}

    @property
    def evidence(self) -> tuple[int, int]:
        """Return what changes when the methods of connections do, or more certificates are known."""
        return self._connections.version, self._certificates.version

    def begin(self) -> None:
        """Note that the session with charon is new: connections may have changed in between."""
        self._connections.begin()

    def has_connection(self, name: str) -> bool:
        """Tell whether charon had this connection at the last refresh."""
        return name in self._connections

    def rekeyed(self, old: str, new: str) -> None:
        """Note that the IKE_SA with the SPIs ``new`` replaced ``old``: its peer authenticated as before."""
        self._connections.move(old, new)

    async def refresh(self, session: CharonSession, sas: tuple[IkeSa, ...], listed: Iterable[IkeSa]) -> None:
        """Find out how the peers of these IKE_SAs authenticated, and by which certificates. Raises ``CharonLost``.

        ``listed``: all that charon has. An IKE_SA that is being set up may still move to one of ours.
        """
        await self._connections.update(session, sas, read=True)
        self._connections.prune(listed)
        await self.refresh_certificates(sas)

    async def refresh_certificates(self, sas: Iterable[IkeSa]) -> None:
        """Load certificates that were not known before: the bridge may have found them since."""
        await self._certificates.refresh(self._may_have_certificate(sa for sa in sas if sa.established))

    def keep(self, sas: Iterable[IkeSa]) -> None:
        """Forget all IKE_SAs but these established ones."""
        sas = tuple(sas)
        self._deadlines = {sa.spis: self._deadlines.get(sa.spis) or self._deadline(sa) for sa in sas}
        # The same as in ``refresh_certificates``: of others nothing is known to forget.
        self._certificates.update(self._may_have_certificate(sas))

    def peer(self, sa: IkeSa) -> IkePeer:
        """Return who authenticated.

        Where the bridge found no certificate, or one that cannot be read, the identity proves none: charon may have
        taken another CA's.
        """
        method = self._authentication(sa)
        return ike_peer(
            sa.remote_id,
            has_certificate=method is not Authentication.PRE_SHARED_KEY,
            unproven=method is Authentication.OTHER or self._certificates.has_none(sa),
            certificate=next((one.identity for one in self._certificates.of((sa,))), ""),
            awaited=method is Authentication.PUBLIC_KEY and self._certificates.awaits(sa),
        )

    def certificates(self, sas: Iterable[IkeSa]) -> tuple[Certificate, ...]:
        """Return the certificates by which the peers of these IKE_SAs authenticated, as far as they are known."""
        return self._certificates.of(self._by_public_key(sas))

    def certificates_complete(self, sas: Iterable[IkeSa]) -> bool:
        """Tell whether no certificate of these IKE_SAs is awaited any longer."""
        now = self._clocks.uptime()
        new = (sa for sa in self._by_public_key(sas) if self._deadlines.get(sa.spis, now) > now)
        return self._certificates.are_known(new)

    def _authentication(self, sa: IkeSa) -> Authentication:
        """Return how the peer of an IKE_SA authenticated.

        If its connection does not tell, a certificate that proves the identity counts: charon lists one only for a
        round that the peer passed (``AUTH_RULE_SUBJECT_CERT``), and so does the bridge.
        """
        method = self._connections.of(sa)
        return Authentication.PUBLIC_KEY if method is Authentication.OTHER and self._is_certified(sa) else method

    def _is_certified(self, sa: IkeSa) -> bool:
        if self._connections.now(sa.name) is not Authentication.PUBLIC_KEY:
            return False
        return any(proves(one, sa.remote_id) for one in self._certificates.of((sa,)))

    def _by_public_key(self, sas: Iterable[IkeSa]) -> Iterator[IkeSa]:
        """Yield the IKE_SAs whose peer authenticated by certificate: the others have none."""
        return (sa for sa in sas if self._authentication(sa) is Authentication.PUBLIC_KEY)

    def _may_have_certificate(self, sas: Iterable[IkeSa]) -> Iterator[IkeSa]:
        """Yield the IKE_SAs that may have a certificate, by what their connection was or, if not known, is now."""
        for sa in sas:
            method = self._connections.of(sa)
            if method is Authentication.OTHER:
                method = self._connections.now(sa.name)
            if method is Authentication.PUBLIC_KEY:
                yield sa

    def _deadline(self, sa: IkeSa) -> timedelta:
        # charon tells the age of an IKE_SA, hence the wall clock.
        age = self._clocks.now() - sa.established_at if sa.established_at else CERTIFICATE_DEADLINE
        return self._clocks.uptime() + max(CERTIFICATE_DEADLINE - age, timedelta())
