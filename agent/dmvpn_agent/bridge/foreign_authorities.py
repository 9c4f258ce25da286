"""The CAs that charon trusts and the operator did not give to the policy.

charon authenticates a peer by a certificate of any CA that it trusts, unless the connection names its CAs
(``cacerts``). It shows the proven identity, but not the certificate. So an IKE_SA of a connection that such a CA can
serve proves no certificate: a peer of that CA may have the name of one of ours.

charon lists the CA certificates that it trusts and those that any peer sent in the same way. Only the former are
still listed after its cache was emptied.

charon also takes a certificate that it has itself, as for another connection (``certs``), whoever issued it. Its
holder may have the name of a peer of ours too.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from functools import lru_cache

import structlog
from cryptography import x509

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.authority_files import IsOurs
from dmvpn_agent.bridge.certificate_cache import CertificateCache
from dmvpn_agent.bridge.certificate_choice import NotFound
from dmvpn_agent.charon.commands import list_authorities, list_certificates
from dmvpn_agent.charon.session import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.runtime.clocks import Clock
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.ike_identity import may_print_as, printed_subject
from dmvpn_agent.x509.name import read_name

log = structlog.get_logger()

#: A peer can send its CA again between flush and listing, by chance or with hundreds of requests a second: so often
#: in a row it does not.
_FLUSHES = 8

_NAME_CAS = "set `cacerts` to the DMVPN's CA in the connection's remote section (swanctl.conf), `swanctl --load-all`"
SERVED_BY_FOREIGN = NotFound(
    "charon takes certificates of another CA for its connection: see foreign_authorities in the log", _NAME_CAS
)

NAMESAKE = NotFound(
    "charon has a certificate of the same name that no CA in policy.ca_certificates issued, and takes it",
    f"remove it from swanctl/x509 and from `certs` of other connections, or {_NAME_CAS}",
)

#: What charon calls the CAs of each remote round; an empty round takes any CA that charon trusts.
CaNames = tuple[frozenset[str], ...]
CaCertificate = Certificate | BadCertificate
Listing = Callable[[CharonSession], Awaitable[list[bytes]]]


class ForeignAuthorities:
    """``is_ours(certificate, others)``: see ``Certificates``. Every coroutine raises ``CharonLost``."""

    def __init__(
        self,
        is_ours: IsOurs,
        cache: CertificateCache,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._is_ours = is_ours
        self._cache = cache
        self._clock = clock
        self._trusted: Mapping[bytes, CaCertificate] = {}
        self._loaded: frozenset[bytes] = frozenset()
        telemetry.observe(metrics.BRIDGE_FOREIGN_AUTHORITIES, lambda: len(self._trusted))

    async def update(
        self, session: CharonSession, listed: Sequence[bytes], *, again: bool = False
    ) -> Callable[[CaNames], bool]:
        """Determine them from the certificates (DER) that charon lists; return ``serve`` of before.

        The cache is emptied if there is a new one among these; with ``again`` also if there is only a known one.
        """
        before = self._trusted
        found = {
            der: read for der in listed if (read := _read_authority(der)) and self._is_foreign(read, der, listed)
        }
        if found and (again or found.keys() - self._trusted.keys()):
            kept = await self._kept(session, found.keys(), list_authorities)
            found = {der: read for der, read in found.items() if der in kept}
        if found.keys() != self._trusted.keys():
            self._report(found)
        self._trusted = found
        return lambda rounds: _serve(before.values(), rounds)

    def __bool__(self) -> bool:
        return bool(self._trusted)

    def serve(self, rounds: CaNames) -> bool:
        """Tell whether charon takes a certificate of one of them in a round of a connection."""
        return _serve(self._trusted.values(), rounds)

    async def loaded(self, session: CharonSession, some: Collection[bytes], *, again: bool = False) -> Set[bytes]:
        """Return those of these certificates (DER), not of the operator's CAs, that charon has itself.

        The cache is emptied if one of them was not known to be; with ``again`` in any case.
        """
        new = set(some) if again else set(some) - self._loaded
        kept = frozenset(await self._kept(session, new, list_certificates)) if new else frozenset[bytes]()
        self._loaded = (self._loaded - new) | kept
        return self.has(some)

    def has(self, some: Collection[bytes]) -> Set[bytes]:
        """Return those of these certificates (DER) that charon had itself when ``loaded`` was asked last."""
        return self._loaded.intersection(some)

    async def look_again(self, session: CharonSession) -> None:
        """Forget which of the certificates that ``loaded`` found charon has no more."""
        await self.loaded(session, self._loaded, again=True)

    def _is_foreign(self, read: CaCertificate, der: bytes, listed: Sequence[bytes]) -> bool:
        if isinstance(read, Certificate) and read.not_after < self._clock():
            return False  # charon accepts nothing of it
        return not self._is_ours(der, listed)

    async def _kept(self, session: CharonSession, some: Collection[bytes], listing: Listing) -> Collection[bytes]:
        """Return those of these certificates that charon lists also after its cache was emptied."""
        for _ in range(_FLUSHES):
            if not some or not await self._cache.flush(session, set(some)):
                break
            try:
                some = set(some).intersection(await listing(session))
            except CommandFailed as error:
                raise CharonLost(f"list-certs: {error}") from error
        return some

    def _report(self, found: Mapping[bytes, CaCertificate]) -> None:
        if not found:
            log.info("foreign_authorities_gone")
            return
        log.error("foreign_authorities", authorities=sorted(map(_text, found.values())),
                  expected="only CAs of policy.ca_certificates, or `cacerts` in the connection of each profile",
                  consequence="connections without `cacerts` prove no certificate, and the agent denies their peers",
                  do=_NAME_CAS)  # fmt: skip


@lru_cache(maxsize=128)
def _read_authority(der: bytes) -> CaCertificate | None:
    """Return a CA's certificate, or why it cannot be read: charon may be able to. ``None`` if it is not a CA's.

    Any peer can put a certificate into charon's cache: no exception of the libraries that read it may escape.
    """
    try:
        constraints = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return None
    except Exception as error:
        return BadCertificate(escaped(str(error) or type(error).__name__))
    return read_certificate(der) if constraints.value.ca else None


def _serve(authorities: Collection[CaCertificate], rounds: CaNames) -> bool:
    return any(
        not names or any(_may_be_called(authority, name) for name in names)
        for names in rounds or (frozenset[str](),)
        for authority in authorities
    )


def _may_be_called(authority: CaCertificate, printed: str) -> bool:
    """Tell whether charon may print the subject of a CA like this."""
    if isinstance(authority, BadCertificate):
        return True
    name = read_name(authority.subject_name)
    return printed_subject(name) == printed or may_print_as(name, printed)


def _text(authority: CaCertificate) -> str:
    return authority.subject if isinstance(authority, Certificate) else f"unreadable: {authority.why}"
