"""The CAs that issued a certificate and signed a CRL."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from chains import chains_to, signed_by
from dmvpn_agent.x509 import signer_cache
from dmvpn_agent.x509.authorities import Authority, AuthorityError, read_authorities
from dmvpn_agent.x509.ca_learning import MAX_LEARNED, MAX_VERIFICATIONS
from dmvpn_agent.x509.ca_paths import MAX_DEPTH
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import Crl, read_crls
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust_store import TrustStore
from factories import NOW, YEAR

PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
KEYS = ("ec", "rsa", "rsa-pss", "ed25519")
CA = x509.BasicConstraints(ca=True, path_length=None)
END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)


@lru_cache
def _key(kind: str, place: int = 0) -> Any:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP384R1())


def _sign(builder: Any, kind: str, key: Any) -> Any:
    return builder.sign(key, None if kind == "ed25519" else SHA256(), rsa_padding=PSS if kind == "rsa-pss" else None)


@dataclass(frozen=True)
class Issuer:
    """A name and a key; ``kind`` is the key's."""

    name: str
    kind: str = "ec"
    place: int = 0

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def issue(self, other: "Issuer", *extensions: x509.ExtensionType) -> bytes:
        """Return the other one's certificate (DER)."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(other.subject)
            .issuer_name(self.subject)
            .public_key(_key(other.kind, other.place).public_key())
            .serial_number(7)
            .not_valid_before(NOW - YEAR)
            .not_valid_after(NOW + YEAR)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        certificate: x509.Certificate = _sign(builder, self.kind, _key(self.kind, self.place))
        return certificate.public_bytes(Encoding.DER)

    def authority(self) -> tuple[Authority, ...]:
        return read_authorities(self.issue(self, CA))

    def crl(self) -> Crl:
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(self.subject).last_update(NOW).next_update(NOW + YEAR)
        )
        (crl,) = read_crls(_sign(builder, self.kind, _key(self.kind, self.place)).public_bytes(Encoding.DER))
        return crl


ROOT, SUB, PEER = Issuer("root"), Issuer("sub", place=1), Issuer("peer", place=2)


def _usage(**bits: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names})


@pytest.mark.parametrize("kind", KEYS)
def test_a_crl_is_verified_with_any_kind_of_key(kind: str) -> None:
    """RSA with either padding, ECDSA and Ed25519 are supported."""
    authority = Issuer("root", kind)
    assert signed_by(authority.crl(), authority.authority())


def test_a_cached_signer_that_is_not_among_the_given_cas_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is bounded."""
    monkeypatch.setattr(signer_cache, "CACHE_SIZE", 1)
    (root,), (other,) = ROOT.authority(), SUB.authority()
    cache = SignerCache()
    assert cache.signer("a", root.signature, [root]) == root.key
    assert cache.signer("a", root.signature, [other]) is None
    assert cache.signer("b", other.signature, [root, other]) == other.key
    assert len(cache._keys) == 1


def test_a_crl_of_another_key_or_name_is_not_in_force() -> None:
    """Key and name must both be a CA's."""
    crl = ROOT.crl()
    assert not signed_by(crl, ())
    assert not signed_by(crl, Issuer("root", place=9).authority())
    assert not signed_by(crl, Issuer("root", "rsa").authority())
    assert not signed_by(crl, Issuer("toor").authority())
    assert signed_by(crl, (*Issuer("root", place=9).authority(), *ROOT.authority()))


def test_a_crl_that_was_changed_is_not_in_force() -> None:
    """The signature covers what is read."""
    der = ROOT.crl().der
    (changed,) = read_crls(der.replace(b"260301120000Z", b"260301120001Z"))
    assert not signed_by(changed, ROOT.authority())


@pytest.mark.parametrize("kind", KEYS)
def test_a_certificate_chains_to_its_issuer(kind: str) -> None:
    """One CA makes a chain."""
    authority = Issuer("root", kind)
    assert chains_to(authority.issue(PEER, END_ENTITY), (), authority.authority())


def test_a_certificate_of_another_key_or_name_does_not_chain() -> None:
    """Key and name must both be the issuer's."""
    peer = ROOT.issue(PEER)
    assert not chains_to(peer, (), ())
    assert not chains_to(peer, (), Issuer("root", place=9).authority())
    assert not chains_to(peer, (), Issuer("toor").authority())
    assert not chains_to(peer[:-1] + bytes([peer[-1] ^ 1]), (), ROOT.authority())


def test_a_chain_can_contain_cas_that_the_peer_sent() -> None:
    """They may come in any order, among other certificates."""
    peer, sub = SUB.issue(PEER, END_ENTITY), ROOT.issue(SUB, CA)
    assert not chains_to(peer, (), ROOT.authority())
    assert not chains_to(peer, [ROOT.issue(PEER, CA)], ROOT.authority())
    assert chains_to(peer, [b"", b"\x30\x00", peer, Issuer("sub", place=9).issue(SUB, CA), sub], ROOT.authority())


@pytest.mark.parametrize(
    "extensions",
    [(), (END_ENTITY,), (CA, _usage(digital_signature=True))],
    ids=["no constraints", "CA:FALSE", "no keyCertSign"],
)
def test_a_certificate_that_is_no_ca_issues_nothing(extensions: Sequence[x509.ExtensionType]) -> None:
    """Otherwise every peer could make certificates for others."""
    assert not chains_to(SUB.issue(PEER), [ROOT.issue(SUB, *extensions)], ROOT.authority())
    with pytest.raises(AuthorityError, match="CN=sub is no CA"):
        read_authorities(ROOT.issue(SUB, *extensions))


def test_a_ca_with_key_cert_sign_issues() -> None:
    """If there is a keyUsage, it must have keyCertSign."""
    assert chains_to(SUB.issue(PEER), [ROOT.issue(SUB, CA, _usage(key_cert_sign=True))], ROOT.authority())


def test_the_path_length_counts() -> None:
    """A CA with pathlen:0 issues no CAs."""
    short = read_authorities(ROOT.issue(ROOT, x509.BasicConstraints(ca=True, path_length=0)))
    assert chains_to(ROOT.issue(PEER), (), short)
    assert not chains_to(SUB.issue(PEER), [ROOT.issue(SUB, CA)], short)


def _long(length: int) -> tuple[bytes, list[bytes]]:
    """Return a peer's certificate and a chain with this many CAs below the root."""
    cas = [ROOT, *(Issuer(f"sub{place}", place=place) for place in range(3, 3 + length))]
    chain = [upper.issue(lower, CA) for upper, lower in pairwise(cas)]
    return cas[-1].issue(PEER), chain


def test_the_depth_is_bounded() -> None:
    """A chain has at most seven CAs with the trust anchor, as in charon."""
    peer, chain = _long(MAX_DEPTH - 1)
    assert chains_to(peer, chain, ROOT.authority())
    peer, chain = _long(MAX_DEPTH)
    assert not chains_to(peer, chain, ROOT.authority())


def test_a_circle_of_cas_ends() -> None:
    """It leads to a trust anchor only if one of them is the operator's."""
    one, other = SUB.issue(ROOT, CA), ROOT.issue(SUB, CA)
    assert not chains_to(SUB.issue(PEER), [one, other], Issuer("third", place=9).authority())
    assert chains_to(SUB.issue(PEER), [one, other], ROOT.authority())
    assert chains_to(SUB.issue(PEER), [], (*read_authorities(one), *read_authorities(other)))


def test_strangers_certificates_named_like_a_ca_do_not_starve_honest_chains() -> None:
    """A certificate that no known CA signed is verified once and then skipped."""
    stranger = Issuer("root", place=9)
    false = [stranger.issue(SUB, CA) for _ in range(3 * MAX_VERIFICATIONS)]
    certificate = read_certificate(SUB.issue(PEER))
    assert isinstance(certificate, Certificate)
    store = TrustStore(ROOT.authority())
    looks = [store.learn([*false, ROOT.issue(SUB, CA)]) for _ in range(4)]
    assert [len(learned) for learned in looks] == [0, 0, 0, 1]
    assert TrustStore(store.given, looks[-1]).chains(certificate).found


def test_intermediate_cas_are_learned_in_any_order_up_to_a_bound() -> None:
    """Without the CA that links it to a known one, none is learned."""
    chain = _long(4)[1]
    assert len(TrustStore(ROOT.authority()).learn(chain[::-1])) == 4
    assert TrustStore(ROOT.authority()).learn(chain[1:]) == ()
    many = [ROOT.issue(Issuer(f"sub{number}", place=number % 2), CA) for number in range(MAX_LEARNED + 9)]
    store = TrustStore(ROOT.authority())
    for _ in range(len(many) // MAX_VERIFICATIONS + 1):
        store = TrustStore(store.given, (*store.learned, *store.learn(many)))
    assert len(store.learned) == MAX_LEARNED


def test_many_cas_with_one_name_are_distinguished_by_their_keys() -> None:
    """This holds for more than twenty, with or without key identifiers."""
    cas = [Issuer("root", place=place) for place in range(20, 45)]
    authorities = tuple(authority for ca in cas for authority in ca.authority())
    for ca in (cas[0], cas[-1]):
        assert chains_to(ca.issue(PEER), (), authorities)
        assert signed_by(ca.crl(), authorities)
    assert not chains_to(Issuer("root", place=9).issue(PEER), (), authorities)


def test_a_listed_self_signed_certificate_is_its_own_issuer() -> None:
    """It is not if the operator does not list it."""
    der = ROOT.issue(ROOT, CA)
    assert chains_to(der, (), read_authorities(der))
    assert not chains_to(der, (), SUB.authority())


def test_input_that_is_no_certificate_does_not_chain() -> None:
    """It does not raise either."""
    for data in (b"", b"\x30\x00", ROOT.issue(PEER)[:-1], bytes(100_000)):
        assert not chains_to(data, [data], ROOT.authority())


def test_ca_certificates_are_read_from_pem_and_der() -> None:
    """A file may contain any number."""
    files = [ROOT.issue(ROOT, CA), SUB.issue(SUB, CA)]
    pem = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in files)
    assert [authority.certificate.subject for authority in read_authorities(pem)] == ["CN=root", "CN=sub"]
    assert [authority.certificate.der for authority in read_authorities(pem)] == files


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", "cannot be read"), (b"x", "cannot be read"), (bytes(2 * 1024 * 1024), "more than"),
     (b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", "X509 CRL and not CERTIFICATE")],
)  # fmt: skip
def test_input_that_is_no_ca_certificate_is_an_error(data: bytes, error: str) -> None:
    """The text says what it is."""
    with pytest.raises(AuthorityError, match=error):
        read_authorities(data)
