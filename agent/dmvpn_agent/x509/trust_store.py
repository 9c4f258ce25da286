"""The operator's CAs and CRLs: which chains a certificate has, and which CRLs apply to it."""

from collections.abc import Iterable

from cryptography import x509

from dmvpn_agent.x509.authorities import Authority, issuer_key_id
from dmvpn_agent.x509.ca_index import CaIndex
from dmvpn_agent.x509.ca_learning import CaLearner
from dmvpn_agent.x509.ca_paths import CaPaths, Path
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.crl_index import CrlIndex, SignedCrl, UnusedCrl
from dmvpn_agent.x509.der import Malformed
from dmvpn_agent.x509.name import UNREADABLE, canonical_name
from dmvpn_agent.x509.signature import read_signature
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust import Chain, Chains, Issuer, Trust

#: Chains of one certificate that are judged.
MAX_CHAINS = 64

#: Certificates whose chains are cached.
CACHE_SIZE = 32768


class TrustStore:
    """CA certificates, given and learned, and CRLs. It does not change: a new file makes a new store."""

    def __init__(
        self,
        given: Iterable[Authority],
        learned: Iterable[Authority] = (),
        crls: Iterable[Crl] = (),
        signer_cache: SignerCache | None = None,
    ) -> None:
        self._index = CaIndex(given, learned, signer_cache or SignerCache())
        self._paths = CaPaths(self._index)
        self._crls = CrlIndex(crls, self._index, self._paths)
        self._learner = CaLearner(self._index)
        self._chains: dict[str, Chains] = {}

    @property
    def given(self) -> tuple[Authority, ...]:
        """Return the operator's CA certificates."""
        return self._index.given

    @property
    def learned(self) -> tuple[Authority, ...]:
        """Return the intermediate CA certificates that peers sent."""
        return self._index.learned

    @property
    def crls(self) -> list[SignedCrl]:
        """Return the CRLs in force."""
        return self._crls.signed

    @property
    def unused(self) -> list[UnusedCrl]:
        """Return the CRLs that are not in force."""
        return self._crls.unused

    def trust(self, *, requires_chain: bool = True) -> Trust:
        """Return what the policy needs."""
        return Trust(tuple(one.certificate for one in self.given), self._crls.all(), self, requires_chain)

    def learn(self, certificates: Iterable[bytes]) -> tuple[Authority, ...]:
        """Return the CA certificates (DER) among these that a known CA issued and that are new."""
        return self._learner.learn(certificates)

    def chains(self, certificate: Certificate) -> Chains:
        """Return the chains from a certificate to the trust anchors. Never raises."""
        if (cached := self._chains.get(certificate.fingerprint)) is not None:
            return cached
        try:
            found = self._find(certificate)
        except (Malformed, *UNREADABLE) as error:
            found = Chains(why=f"it cannot be read: {escaped(str(error))}")
        if len(self._chains) >= CACHE_SIZE:
            self._chains.clear()
        self._chains[certificate.fingerprint] = found
        return found

    def _find(self, certificate: Certificate) -> Chains:
        loaded = x509.load_der_x509_certificate(certificate.der)
        signature, issuer = read_signature(loaded, certificate.der), canonical_name(certificate.issuer_name)
        if signature.refused:
            return Chains(why=f"the certificate is {signature.refused}")
        named = sum(1 for _ in self._index.issuing(issuer))
        if not named:
            return Chains(why="no CA of this name is in policy.ca_certificates")
        key_id = issuer_key_id(loaded.extensions)
        issuers = self._index.issuers(certificate.fingerprint, signature, issuer, key_id)
        if not issuers:
            return Chains(why=f"its signature was made by none of the {named} known CAs of this name")
        paths = [path for one in issuers for path in self._paths.paths_from(one)]
        if not paths:
            return Chains(why="the CAs above it do not lead to one in policy.ca_certificates, or may not issue it")
        return Chains(tuple(map(self._chain, paths[:MAX_CHAINS])))

    def _chain(self, path: Path) -> Chain:
        anchor = path[-1]
        issuers = (Issuer(one.certificate, self._crls.applying_to(one, anchor), one.key) for one in path)
        return Chain(tuple(issuers), self_signed=anchor.self_issued)
