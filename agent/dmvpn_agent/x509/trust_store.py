"""Signatures: which of the operator's CAs a certificate comes from, and which CRLs speak about it.

Chains are built from the operator's CA certificates downwards: of the CA certificates that somebody else shows, only
those that a known CA signed become known, so strangers' ones cost one verification each and stand in nobody's way.
Names are compared by RFC 5280, section 7.1, and of CAs of one name the key decides.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography import x509

from dmvpn_agent.x509.authorities import Authority, AuthorityError, _authority, _issuer_key_id
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import MAX_CERTIFICATE_BYTES
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.der import Malformed
from dmvpn_agent.x509.name import UNREADABLE, CanonicalName, canonical_name
from dmvpn_agent.x509.signature import Signature, read_signature
from dmvpn_agent.x509.trust import Chain, Chains, Issuer, RevocationList, Trust

#: CA certificates in one chain, the trust anchor included (strongSwan's ``MAX_TRUST_PATH_LEN``).
MAX_DEPTH = 7


#: Chains of one CA, and steps to find them: CAs that certify one another can make any number.
MAX_CHAINS = 64


MAX_STEPS = 4096


#: Intermediate CAs that are taken from what others show; signatures that are verified for that at one time.
MAX_LEARNED = 256


MAX_VERIFICATIONS = 50


#: Certificates of which it is remembered who signed them.
MAX_REMEMBERED = 32768


#: basicConstraints with CA:TRUE, as DER has it: most of what is shown is no CA's, and need not be read for that.
_IS_CA = re.compile(rb"\x55\x1d\x13(?:\x01\x01\xff)?\x04.\x30.\x01\x01\xff", re.DOTALL)


class UnusedCrl(NamedTuple):
    """A CRL that is not in force, and why, for an operator."""

    crl: Crl
    why: str


class SignedCrl(NamedTuple):
    """A CRL with the key that signed it (``Authority.key``)."""

    crl: Crl
    key: bytes


class SignerCache:
    """Remembers which key signed a certificate, for all that is asked of the same certificates later."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    def signer(self, fingerprint: str, signature: Signature, among: Sequence[Authority]) -> bytes | None:
        """Return the key of these that made a signature; of several with one key, the first is tried."""
        known = self._keys.get(fingerprint)
        if known is not None and any(one.key == known for one in among):
            return known
        for one in {authority.key: authority for authority in reversed(among)}.values():
            if signature.is_by(one.public_key):
                if len(self._keys) >= MAX_REMEMBERED:
                    self._keys.clear()
                self._keys[fingerprint] = one.key
                return one.key
        return None


Path = tuple[Authority, ...]


class TrustStore:
    """The operator's CA certificates, the intermediate ones that became known, and the CRLs that they signed.

    It does not change. ``unused`` are the CRLs that none of them signed; ``crls`` the others.
    """

    def __init__(
        self,
        given: Iterable[Authority],
        learned: Iterable[Authority] = (),
        crls: Iterable[Crl] = (),
        signatures: SignerCache | None = None,
    ) -> None:
        self.signatures = signatures or SignerCache()
        self.given = tuple({one.certificate.fingerprint: one for one in given}.values())
        self._given = {one.certificate.fingerprint for one in self.given}
        self.learned = tuple(one for one in learned if one.certificate.fingerprint not in self._given)
        self._known: dict[CanonicalName, list[Authority]] = {}
        for authority in (*self.given, *self.learned):
            self._known.setdefault(authority.name, []).append(authority)
        self._paths: dict[str, tuple[Path, ...]] = {}
        self._tops: dict[str, bool] = {}
        self._chains: dict[str, Chains] = {}
        self._lists: dict[tuple[str, str], tuple[RevocationList, ...]] = {}
        self._refused: set[str] = set()
        self.crls: list[SignedCrl] = []
        self.unused: list[UnusedCrl] = []
        for crl in crls:
            self._take(crl)

    def trust(self, *, requires_chain: bool = True) -> Trust:
        """Return what the policy is told."""
        lists = tuple(_list(crl.crl, crl.crl.next_update) for crl in self.crls)
        return Trust(tuple(one.certificate for one in self.given), lists, self, requires_chain)

    def chains(self, certificate: Certificate) -> Chains:
        """Return the chains from a certificate to the operator's CAs. Never raises."""
        if (known := self._chains.get(certificate.fingerprint)) is not None:
            return known
        try:
            found = self._find(certificate)
        except (Malformed, *UNREADABLE) as error:
            found = Chains(why=f"it cannot be read: {escaped(str(error))}")
        if len(self._chains) >= MAX_REMEMBERED:
            self._chains.clear()
        self._chains[certificate.fingerprint] = found
        return found

    def learn(self, certificates: Iterable[bytes]) -> tuple[Authority, ...]:
        """Return the CA certificates (DER) among these that a known CA issued, and that are not known yet.

        What anybody may have sent: each costs one verification, and only so many are looked at in one call.
        """
        pending = list(self._new(certificates))
        learned: list[Authority] = []
        verifications = 0
        progress = True
        while progress:
            progress = False
            for one in tuple(pending):
                above = [known for known in (*self._issuing(one.issuer), *learned) if known.name == one.issuer]
                full = len(self.learned) + len(learned) >= MAX_LEARNED
                if not above or full or verifications >= MAX_VERIFICATIONS:
                    continue
                verifications += 1
                pending.remove(one)
                if self._signer(one.certificate.fingerprint, one.signature, one.issuer_key_id, above) is None:
                    self._refuse(one.certificate.fingerprint)
                else:
                    learned.append(one)
                    progress = True
        for one in pending:
            if not any(known.name == one.issuer for known in (*self._issuing(one.issuer), *learned)):
                self._refuse(one.certificate.fingerprint)  # a store that knows its issuer looks at it again
        return tuple(learned)

    def _new(self, certificates: Iterable[bytes]) -> Iterator[Authority]:
        known = {one.certificate.fingerprint for ones in self._known.values() for one in ones} | self._refused
        for der in certificates:
            if len(der) <= MAX_CERTIFICATE_BYTES and _IS_CA.search(der):
                fingerprint = hashlib.sha256(der).hexdigest()
                if fingerprint not in known:
                    known.add(fingerprint)
                    if (authority := _shown_authority(der)) is None:
                        self._refuse(fingerprint)
                    else:
                        yield authority

    def _refuse(self, fingerprint: str) -> None:
        if len(self._refused) >= MAX_REMEMBERED:
            self._refused.clear()
        self._refused.add(fingerprint)

    def _issuing(self, name: CanonicalName) -> Iterator[Authority]:
        return (one for one in self._known.get(name, ()) if one.issues)

    def _signer(
        self, fingerprint: str, signature: Signature, key_id: bytes | None, among: Iterable[Authority]
    ) -> bytes | None:
        """Return the key of these that made a signature; first those whose identifier is the one that it names."""
        ordered = sorted(among, key=lambda one: key_id is None or one.key_id != key_id)
        return self.signatures.signer(fingerprint, signature, ordered)

    def _issuers(self, fingerprint: str, signature: Signature, of: CanonicalName, key_id: bytes | None) -> Path:
        """Return all CA certificates with the name and the key that a certificate was issued with."""
        among = tuple(self._issuing(of))
        key = self._signer(fingerprint, signature, key_id, among)
        return tuple(one for one in among if one.key == key)

    def _above(self, authority: Authority) -> Path:
        certificate = authority.certificate
        return self._issuers(certificate.fingerprint, authority.signature, authority.issuer, authority.issuer_key_id)

    def _find(self, certificate: Certificate) -> Chains:
        loaded = x509.load_der_x509_certificate(certificate.der)
        signature, issuer = read_signature(loaded, certificate.der), canonical_name(certificate.issuer_name)
        if signature.refused:
            return Chains(why=f"the certificate is {signature.refused}")
        named = sum(1 for _ in self._issuing(issuer))
        if not named:
            return Chains(why="no CA of this name is in policy.ca_certificates")
        key_id = _issuer_key_id(loaded.extensions)
        issuers = self._issuers(certificate.fingerprint, signature, issuer, key_id)
        if not issuers:
            return Chains(why=f"its signature was made by none of the {named} known CAs of this name")
        paths = [path for one in issuers for path in self._paths_from(one)]
        if not paths:
            return Chains(why="the CAs above it do not lead to one in policy.ca_certificates, or may not issue it")
        return Chains(tuple(self._chain(path) for path in paths[:MAX_CHAINS]))

    def _paths_from(self, authority: Authority) -> tuple[Path, ...]:
        """Return the ways from a CA, itself included, up to a trust anchor.

        A trust anchor is one of the operator's that issued itself, or that no other known one issued.
        """
        fingerprint = authority.certificate.fingerprint
        if fingerprint not in self._paths:
            steps = iter(range(MAX_STEPS))
            self._paths[fingerprint] = tuple(path for path in self._climb((authority,), steps) if _is_short(path))
        return self._paths[fingerprint]

    def _climb(self, below: Path, steps: Iterator[int]) -> Iterator[Path]:
        if next(steps, None) is None or len(below) > MAX_DEPTH:
            return
        last = below[-1]
        passed = {(one.name, one.key) for one in below}
        above = self._above(last)
        itself = any(one.key == last.key and one.name == last.name for one in above)
        higher = [one for one in above if (one.name, one.key) not in passed]
        if last.signature.refused and not last.names_itself and self._has_namesake_above(last):
            return  # it may be what the known CA of this name issued, and revoked: nobody can tell
        if last.certificate.fingerprint in self._given and (itself or not higher or self._is_top(last)):
            yield below
        elif not itself:
            for one in higher:
                yield from self._climb((*below, one), steps)

    def _has_namesake_above(self, authority: Authority) -> bool:
        return any(
            (one.name, one.key) != (authority.name, authority.key) and not self._is_known_by(authority, one)
            for one in self._issuing(authority.issuer)
        )

    def _is_top(self, authority: Authority) -> bool:
        """Tell whether every known issuer of a CA is known by way of this CA only.

        A CA below can certify the key of the one above. That must not make a trust anchor count for nothing.
        """
        fingerprint = authority.certificate.fingerprint
        if fingerprint not in self._tops:
            self._tops[fingerprint] = all(self._is_known_by(authority, one) for one in self._above(authority))
        return self._tops[fingerprint]

    def _is_known_by(self, authority: Authority, issuer: Authority) -> bool:
        """Tell whether the ways up from an issuer lead to this CA, and to no other of the operator's."""
        pending, seen, returns = [issuer], set[str](), False
        while pending:
            one = pending.pop()
            if (one.name, one.key) == (authority.name, authority.key):
                returns = True
            elif one.certificate.fingerprint in self._given:
                return False
            elif one.certificate.fingerprint not in seen:
                seen.add(one.certificate.fingerprint)
                pending += self._above(one)
        return returns

    def _chain(self, path: Path) -> Chain:
        anchor = path[-1]
        issuers = tuple(Issuer(one.certificate, self._lists_of(one, anchor), one.key) for one in path)
        return Chain(issuers, self_signed=anchor.self_issued)

    def _take(self, crl: Crl) -> None:
        """Put a list in force if one of the operator's CAs, or somebody it lets sign lists, signed it."""
        if crl.signature.refused:
            self.unused.append(UnusedCrl(crl, f"is {crl.signature.refused}"))
            return
        among = [one for one in self._known.get(crl.name, ()) if self._anchors(one)]
        key = self._signer(crl.digest, crl.signature, crl.key_id, among)
        if key is None:
            self.unused.append(
                UnusedCrl(crl, "is not signed by a CA in policy.ca_certificates; add its certificate there")
            )
        else:
            self.crls.append(SignedCrl(crl, key))

    def _anchors(self, signer: Authority) -> frozenset[tuple[CanonicalName, bytes]]:
        """Return the trust anchors above whoever signs lists."""
        paths = self._paths_from(signer) if signer.issues else self._paths_above(signer)
        return frozenset((path[-1].name, path[-1].key) for path in paths)

    def _paths_above(self, signer: Authority) -> tuple[Path, ...]:
        return tuple(path for one in self._above(signer) for path in self._paths_from(one))

    def _lists_of(self, issuer: Authority, anchor: Authority) -> tuple[RevocationList, ...]:
        """Return the CRLs that speak about what a CA issued, in a chain to this trust anchor.

        They are those that its own key signed, and those of another signer of its name below the same trust anchor
        (RFC 5280, section 6.3.3, f).
        """
        key = issuer.certificate.fingerprint, anchor.certificate.fingerprint
        if key not in self._lists:
            self._lists[key] = tuple(
                self._list(crl.crl, signer, issuer)
                for crl in self.crls
                for signer in self._signers(crl, issuer, anchor)
            )
        return self._lists[key]

    def _signers(self, crl: SignedCrl, issuer: Authority, anchor: Authority) -> Iterator[Authority]:
        """Yield the best certificate of whoever signed a list, if the list speaks about what the issuer issued."""
        if crl.crl.name == issuer.name:
            signers = [one for one in self._known[crl.crl.name] if one.key == crl.key]
            signers = [
                one for one in signers if crl.key == issuer.key or (anchor.name, anchor.key) in self._anchors(one)
            ]
            yield from sorted(signers, key=lambda one: (one.signs_crls, one.certificate.not_after), reverse=True)[:1]

    def _list(self, crl: Crl, signer: Authority, issuer: Authority) -> RevocationList:
        until = crl.next_update if signer.signs_crls else None
        own = signer.key == issuer.key
        if until is not None and not own:
            until = min(until, signer.certificate.not_after)
            if self._is_revoked(signer):
                until = None
        return _list(crl, until, signed_by_issuer=own)

    def _is_revoked(self, signer: Authority) -> bool:
        """Tell whether one of the signer's issuers itself revoked it."""
        above = {(one.name, one.key) for one in self._above(signer)}
        return any((one.crl.name, one.key) in above and signer.certificate.serial in one.crl.serials
                   for one in self.crls)  # fmt: skip


def _list(crl: Crl, until: datetime | None, *, signed_by_issuer: bool = True) -> RevocationList:
    return RevocationList(
        crl.issuer, crl.number, crl.this_update, crl.next_update, crl.serials, until, signed_by_issuer
    )


def _shown_authority(der: bytes) -> Authority | None:
    """Return a certificate that somebody shows, if it is a CA's."""
    try:
        authority = _authority(der)
    except AuthorityError:
        return None
    return authority if authority.issues else None


def _is_short(path: Path) -> bool:
    """Tell whether no CA has more CAs below it than it may (RFC 5280, section 6.1.4, l and m)."""
    below = 0
    for authority in path:
        if authority.path_length is not None and authority.path_length < below:
            return False
        below += not authority.self_issued
    return len(path) <= MAX_DEPTH
