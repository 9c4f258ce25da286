"""Chains and the CRLs that apply to them: RFC 5280, section 6, with real signatures."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1

from certificates import BLOCKS, NULL, bits, blocks, oid, sequence, tlv
from dmvpn_agent.policy.chain_rules import ChainValidator
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.x509.authorities import Authority, read_authorities
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.der import expect
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust_store import TrustStore
from factories import NOW, POLICY, YEAR, policy
from pki import PRINTABLE, Party, usage

ROOT, SUB = Party("root"), Party("sub")
STRICT = policy(requires_crl=True)
DAY = timedelta(days=1)


def judged(
    certificate: Certificate,
    authorities: Iterable[Authority],
    crls: Iterable[Crl] = (),
    by: Policy = POLICY,
    learned: Iterable[Authority] = (),
) -> Reason | None:
    """Return the reason with which the chain denies a certificate, ``None`` if it does not."""
    trust = TrustStore(authorities, learned, crls).trust()
    checks = ChainValidator(by, trust).validate(certificate, NOW).checks
    assert checks
    return next((check.reason for check in checks if not check.passed), None)


def _with_sha1(certificate: bytes, issuer: Party) -> bytes:
    """Return the certificate with a SHA-1 signature."""
    content = expect(certificate, expect(certificate, 0, len(certificate), 0x30)[0], len(certificate), 0x30)
    sha256, sha1 = (sequence(oid(f"1.2.840.10045.4.{kind}")) for kind in ("3.2", "1"))
    signed = sequence(certificate[slice(*content)].replace(sha256, sha1, 1))
    return sequence(signed, sha1, tlv(3, b"\x00", issuer.private_key.sign(signed, ec.ECDSA(SHA1()))))


class TestNames:
    """RFC 5280, section 7.1."""

    @pytest.mark.parametrize("identified", [True, False])
    def test_a_ca_and_its_crl_may_encode_the_name_in_other_ways(self, identified: bool) -> None:
        """A CRL in PrintableString, capitals and more spaces revokes certificates of a CA in UTF8String."""
        ca = Party("dmvpn ca", "root", identified=identified)
        others = [replace(ca, kind=PRINTABLE), replace(ca, text="DMVPN  CA"), replace(ca, text=" dmvpn ca ")]
        for other in others:
            assert judged(ca.leaf(5), [other.authority()], [ca.revoke(5)]) is Reason.CERTIFICATE_REVOKED
            assert judged(other.leaf(5), [ca.authority()], [other.revoke(5)]) is Reason.CERTIFICATE_REVOKED
            assert judged(ca.leaf(6), [other.authority()], [other.revoke(5)], STRICT) is None

    def test_another_name_with_the_same_key_issues_nothing(self) -> None:
        """The key alone does not make the CA."""
        assert judged(ROOT.leaf(), [Party("other", "root").authority()]) is Reason.UNTRUSTED_ISSUER


class TestKeys:
    """CAs of one name."""

    OLD, NEW = Party("ca", "old"), Party("ca", "new")

    @pytest.mark.parametrize("identified", [True, False])
    def test_a_re_keyed_ca_has_a_crl_for_each_key(self, identified: bool) -> None:
        """The newer CRL does not replace the other, also without key identifiers."""
        old, new = replace(self.OLD, identified=identified), replace(self.NEW, identified=identified)
        authorities = old.authority(), new.authority()
        crls = old.revoke(5, number=9), new.revoke(6, number=1, update=NOW - 2 * DAY)
        assert judged(old.leaf(5), authorities, crls) is Reason.CERTIFICATE_REVOKED
        assert judged(new.leaf(6), authorities, crls) is Reason.CERTIFICATE_REVOKED
        assert judged(old.leaf(6), authorities, crls, STRICT) is None
        assert judged(new.leaf(5), authorities, crls, STRICT) is None
        assert judged(new.leaf(5), authorities, crls[:1], STRICT) is Reason.REVOCATION_UNKNOWN

    def test_a_re_keyed_sub_ca_revokes_by_its_new_key_what_the_old_one_signed(self) -> None:
        """RFC 5280, section 6.3.3, f. An outdated CRL of the old key still denies under require_crl."""
        authorities = ROOT.authority(), self.OLD.authority(ROOT, serial=1), self.NEW.authority(ROOT, serial=2)
        roots, new = ROOT.revoke(), self.NEW.revoke(5)
        assert judged(self.OLD.leaf(5), authorities, [roots, new]) is Reason.CERTIFICATE_REVOKED
        assert judged(self.OLD.leaf(6), authorities, [roots, new], STRICT) is None
        gone = [ROOT.revoke(2), new]
        assert judged(self.OLD.leaf(5), authorities, gone, STRICT) is Reason.CERTIFICATE_REVOKED
        assert judged(self.OLD.leaf(6), authorities, gone, STRICT) is Reason.REVOCATION_UNKNOWN
        outdated = self.OLD.revoke(update=NOW - 60 * DAY)
        assert judged(self.OLD.leaf(6), authorities, [roots, new, outdated], STRICT) is Reason.REVOCATION_UNKNOWN

    def test_a_renewed_ca_certificate_is_the_same_ca(self) -> None:
        """With the same name and key, one CRL applies to both certificates, and a valid one is enough."""
        past = replace(ROOT, dates=(NOW - 2 * YEAR, NOW - YEAR))
        both = past.authority(serial=1), ROOT.authority(serial=2)
        assert judged(ROOT.leaf(6), both, [ROOT.revoke(5)], STRICT) is None
        assert judged(ROOT.leaf(5), both, [ROOT.revoke(5)]) is Reason.CERTIFICATE_REVOKED
        assert judged(ROOT.leaf(6), both[:1]) is Reason.ISSUER_NOT_VALID

    def test_a_wrong_key_identifier_does_not_matter(self) -> None:
        """The identifier is a hint (RFC 5280, section 4.2.1.1); the signature decides."""
        liar = x509.AuthorityKeyIdentifier(b"x" * 20, None, None)
        plain = replace(self.OLD, identified=False)
        certificate = plain.leaf(5)
        wrong = plain.certify(Party("spoke1", "leaf"), liar, serial=5, ca=False)
        authorities = self.OLD.authority(), self.NEW.authority()
        for der in (certificate.der, wrong):
            one = replace(certificate, der=der, fingerprint=der.hex())
            assert judged(one, authorities, [self.OLD.revoke(5)]) is Reason.CERTIFICATE_REVOKED


class TestSubCa:
    """CAs below a root."""

    def test_a_root_that_revoked_itself_denies_all_its_peers(self) -> None:
        """OpenSSL from 3.6 on does not check this."""
        root = ROOT.authority(serial=40)
        assert judged(ROOT.leaf(), [root], [ROOT.revoke()]) is None
        assert judged(ROOT.leaf(), [root], [ROOT.revoke(40)]) is Reason.ISSUER_REVOKED

    def test_a_sub_ca_that_the_root_revoked_denies_its_peers(self) -> None:
        """Neither its own current CRL nor listing it helps."""
        authorities = ROOT.authority(), SUB.authority(ROOT, serial=40)
        assert judged(SUB.leaf(), authorities, [ROOT.revoke(40), SUB.revoke()], STRICT) is Reason.ISSUER_REVOKED
        assert judged(SUB.leaf(), authorities, [ROOT.revoke(41), SUB.revoke()], STRICT) is None
        assert judged(SUB.leaf(), authorities, [SUB.revoke()], STRICT) is Reason.REVOCATION_UNKNOWN
        assert judged(SUB.leaf(), authorities, [ROOT.revoke()], STRICT) is Reason.REVOCATION_UNKNOWN

    def test_a_sub_ca_listed_without_its_root_is_the_trust_anchor(self) -> None:
        """No CA above it is known."""
        assert judged(SUB.leaf(), [SUB.authority(ROOT)], [SUB.revoke()], STRICT) is None

    def test_a_sub_ca_has_its_own_serial_numbers(self) -> None:
        """The root's CRL does not apply to them."""
        authorities = ROOT.authority(), SUB.authority(ROOT, serial=40)
        assert judged(SUB.leaf(5), authorities, [ROOT.revoke(5)]) is None

    def test_a_cross_certified_ca_has_two_chains(self) -> None:
        """One good chain is enough; if all are revoked, its peers are denied."""
        other = Party("other root")
        authorities = (
            ROOT.authority(),
            other.authority(),
            SUB.authority(ROOT, serial=1),
            SUB.authority(other, serial=2),
        )
        assert judged(SUB.leaf(), authorities, [ROOT.revoke(1)]) is None
        assert judged(SUB.leaf(), authorities, [ROOT.revoke(1), other.revoke(2)]) is Reason.ISSUER_REVOKED

    def test_a_path_length_counts_cas_that_are_not_self_issued(self) -> None:
        """RFC 5280, section 6.1.4, l: a key rollover certificate does not count."""
        short = x509.BasicConstraints(ca=True, path_length=0)
        (new, old) = Party("root", "new"), Party("root", "old")
        root = old.authority(old, short, ca=False)
        assert judged(new.leaf(), [root, new.authority(old)]) is None
        assert judged(SUB.leaf(), [root, SUB.authority(old)]) is Reason.UNTRUSTED_ISSUER

    def test_a_certificate_of_a_peer_that_is_no_ca_issues_nothing(self) -> None:
        """Listing it does not help."""
        peer = Party("spoke1", "leaf")
        assert judged(peer.leaf(text="spoke2"), [ROOT.authority()]) is Reason.UNTRUSTED_ISSUER
        shown = [ROOT.certify(peer, ca=False), ROOT.certify(peer, x509.BasicConstraints(False, None), ca=False)]
        assert TrustStore([ROOT.authority()]).learn(shown) == ()

    def test_an_intermediate_ca_that_was_learned_is_no_trust_anchor(self) -> None:
        """If the operator removes its root, its peers are denied."""
        learned = TrustStore([ROOT.authority()]).learn([ROOT.certify(SUB)])
        for given in ([], [Party("other").authority()]):
            assert not TrustStore(given, learned).chains(SUB.leaf()).found

    def test_a_ca_below_cannot_displace_the_trust_anchor(self) -> None:
        """It may certify the anchor's key: that issuer is known only because of the anchor."""
        below = Party("below")
        given, crls = [SUB.authority(ROOT)], [SUB.revoke()]
        learned = [below.authority(SUB, serial=3), ROOT.authority(below)]
        for order in (learned, learned[::-1]):
            assert judged(SUB.leaf(), given, crls, learned=order) is None
            assert judged(below.leaf(), given, crls, learned=order) is None
            assert judged(below.leaf(), given, [SUB.revoke(3)], learned=order) is Reason.ISSUER_REVOKED

    def test_a_listed_ca_cannot_make_itself_the_trust_anchor(self) -> None:
        """It certifies the keys of the CAs above it, so that each CA is below every other."""
        room = Party("room")
        given = [ROOT.authority(), room.authority(SUB)]
        learned = [SUB.authority(ROOT, serial=40), ROOT.authority(room), SUB.authority(room, serial=41)]
        for order in permutations(learned):
            assert judged(room.leaf(), given, [ROOT.revoke()], learned=order) is None
            assert judged(room.leaf(), given, [ROOT.revoke(40)], learned=order) is Reason.ISSUER_REVOKED
            assert judged(room.leaf(), given[1:], [ROOT.revoke(40)], learned=order[:0]) is None  # nothing above it
            other = SUB.authority(ROOT, serial=40), given[1]  # without the root, the sub-CA is the top
            assert judged(room.leaf(), other, [SUB.revoke(7)], learned=learned[1:]) in {
                Reason.ISSUER_REVOKED, Reason.UNTRUSTED_ISSUER,
            }  # fmt: skip

    def test_a_learned_issuer_without_a_trust_anchor_still_denies_the_ca_below_it(self) -> None:
        """Its root, whose file is gone, may have revoked the CA."""
        room = Party("room")
        learned = [SUB.authority(ROOT)]
        assert judged(room.leaf(), [room.authority(SUB)], learned=learned) is Reason.UNTRUSTED_ISSUER

    def test_a_rollover_certificate_with_sha1_is_no_root(self) -> None:
        """It names another key of its issuer, and that key may have revoked it."""
        new, old = Party("root", "new"), Party("root", "old")
        (rollover,) = read_authorities(_with_sha1(old.certify(new, serial=40), old))
        assert judged(new.leaf(), [old.authority(), rollover], [old.revoke(40)]) is Reason.UNTRUSTED_ISSUER
        assert judged(new.leaf(), [rollover]) is None

    def test_a_ca_signed_with_sha1_is_neither_learned_nor_a_trust_anchor(self) -> None:
        """Its issuer may have revoked it; only if its issuer is unknown it is the trust anchor."""
        der = _with_sha1(ROOT.certify(SUB, serial=40), ROOT)
        (sub,) = read_authorities(der)
        assert TrustStore([ROOT.authority()]).learn([der]) == ()
        assert judged(SUB.leaf(), [ROOT.authority(), sub], [ROOT.revoke(40)]) is Reason.UNTRUSTED_ISSUER
        assert judged(SUB.leaf(), [sub]) is None
        below, like_the_root = Party("below"), Party("root", "like the root")
        learned = [below.authority(SUB), like_the_root.authority(below)]
        assert judged(SUB.leaf(), [sub], learned=learned) is None  # whom the sub-CA made known says nothing of it
        (root,) = read_authorities(_with_sha1(ROOT.authority().certificate.der, ROOT))
        assert judged(ROOT.leaf(), [root]) is None  # a root's own signature proves nothing

    def test_two_different_signature_algorithm_fields_are_refused(self) -> None:
        """RFC 5280, section 4.1.1.2: only one of the two fields is signed."""
        der, sha256, sha384 = ROOT.leaf().der, oid("1.2.840.10045.4.3.2"), oid("1.2.840.10045.4.3.3")
        at = der.rindex(sha256)
        other = read_certificate(der[:at] + sha384 + der[at + len(sha384) :])
        assert isinstance(other, Certificate)
        assert (
            "the two fields with the signature algorithm differ" in TrustStore([ROOT.authority()]).chains(other).why
        )


class TestSigners:
    """CRL signers (RFC 5280, section 6.3.3, f)."""

    SIGNER = Party("root", "signer")

    def _signer(self, by: Party, **options: int) -> Authority:
        return self.SIGNER.authority(by, usage("crl_sign"), **options)

    def test_a_crl_of_a_signer_with_the_cas_name_counts(self) -> None:
        """It revokes, and it satisfies require_crl."""
        authorities = ROOT.authority(ROOT, usage("key_cert_sign")), self._signer(ROOT)
        assert judged(ROOT.leaf(5), authorities, [self.SIGNER.revoke(5)]) is Reason.CERTIFICATE_REVOKED
        assert judged(ROOT.leaf(6), authorities, [self.SIGNER.revoke(5)], STRICT) is None

    def test_a_crl_signer_issues_no_certificates(self) -> None:
        """It has no keyCertSign."""
        authorities = ROOT.authority(), self._signer(ROOT)
        assert judged(self.SIGNER.leaf(), authorities) is Reason.UNTRUSTED_ISSUER

    def test_a_crl_signer_below_another_root_of_the_name_does_not_count(self) -> None:
        """The trust anchor must be the same."""
        other = Party("root", "other")
        authorities = ROOT.authority(), other.authority(), self._signer(other)
        assert judged(ROOT.leaf(5), authorities, [self.SIGNER.revoke(5)]) is None
        assert judged(other.leaf(5), authorities, [self.SIGNER.revoke(5)]) is Reason.CERTIFICATE_REVOKED

    def test_a_self_signed_crl_signer_does_not_count(self) -> None:
        """It is below no trust anchor."""
        authorities = ROOT.authority(), self._signer(self.SIGNER)
        assert judged(ROOT.leaf(5), authorities, [self.SIGNER.revoke(5)]) is None
        assert len(TrustStore(authorities, crls=[self.SIGNER.revoke(5)]).unused) == 1

    def test_a_crl_of_a_revoked_or_expired_signer_is_not_current_and_still_revokes(self) -> None:
        """In doubt a revocation counts, and the CRL does not satisfy require_crl."""
        authorities = ROOT.authority(), self._signer(ROOT, serial=77)
        crls = self.SIGNER.revoke(5), ROOT.revoke(77, update=NOW - 60 * DAY)
        assert judged(ROOT.leaf(5), authorities, crls) is Reason.CERTIFICATE_REVOKED
        assert judged(ROOT.leaf(6), authorities, crls, STRICT) is Reason.REVOCATION_UNKNOWN
        past = replace(self.SIGNER, dates=(NOW - 2 * YEAR, NOW - YEAR)).authority(ROOT, usage("crl_sign"))
        authorities = ROOT.authority(ROOT, usage("key_cert_sign")), past
        assert judged(ROOT.leaf(5), authorities, [self.SIGNER.revoke(5)]) is Reason.CERTIFICATE_REVOKED
        assert judged(ROOT.leaf(6), authorities, [self.SIGNER.revoke(5)], STRICT) is Reason.REVOCATION_UNKNOWN

    def test_a_crl_of_a_ca_without_crl_sign_is_not_current_and_still_revokes(self) -> None:
        """charon accepts such a CRL; here it revokes, and does not satisfy require_crl."""
        authorities = [ROOT.authority(ROOT, usage("key_cert_sign"))]
        assert judged(ROOT.leaf(5), authorities, [ROOT.revoke(5)]) is Reason.CERTIFICATE_REVOKED
        assert judged(ROOT.leaf(6), authorities, [ROOT.revoke(5)], STRICT) is Reason.REVOCATION_UNKNOWN


class TestLists:
    """Unusual CRLs."""

    AUTHORITIES = (ROOT.authority(),)

    def test_a_crl_of_the_future_is_not_current_and_revokes(self) -> None:
        """Five minutes are tolerated: the CA's clock may be ahead."""
        assert (
            judged(ROOT.leaf(5), self.AUTHORITIES, [ROOT.revoke(5, update=NOW + DAY)]) is Reason.CERTIFICATE_REVOKED
        )
        later = ROOT.revoke(5, update=NOW + timedelta(hours=1))
        assert judged(ROOT.leaf(6), self.AUTHORITIES, [later], STRICT) is Reason.REVOCATION_UNKNOWN
        soon = ROOT.revoke(5, update=NOW + timedelta(minutes=4))
        assert judged(ROOT.leaf(6), self.AUTHORITIES, [soon], STRICT) is None

    @pytest.mark.parametrize("number", [None, 0, 2**159])
    def test_a_crl_number_may_be_absent_or_huge(self, number: int | None) -> None:
        """It only orders CRLs."""
        crl = ROOT.revoke(5, number=number)
        assert crl.number == number
        assert judged(ROOT.leaf(5), self.AUTHORITIES, [crl]) is Reason.CERTIFICATE_REVOKED


class TestDelegation:
    """RFC 3779 with real signatures."""

    @staticmethod
    def _blocks(octets: str) -> x509.UnrecognizedExtension:
        value = blocks(bits(0, octets)) if octets else sequence(sequence(tlv(4, b"\x00\x01"), NULL))
        return x509.UnrecognizedExtension(x509.ObjectIdentifier(BLOCKS), value)

    def test_inherit_is_resolved_by_the_ca_that_signed(self) -> None:
        """Another CA of its name does not count."""
        one, other = Party("ca", "one"), Party("ca", "other")
        authorities = (one.authority(one, self._blocks("0a01")), other.authority(other, self._blocks("0a02")))
        for ca, network in ((one, "10.1.0.0/16"), (other, "10.2.0.0/16")):
            certificate = read_certificate(ca.certify(Party("spoke1", "leaf"), self._blocks(""), ca=False))
            assert isinstance(certificate, Certificate)
            held = ChainValidator(POLICY, TrustStore(authorities).trust()).validate(certificate, NOW).resources
            assert [str(claim.value) for claim in held.prefixes] == [network]
            assert not held.inherits

    def test_more_than_the_ca_that_signed_holds_is_denied(self) -> None:
        """Another CA of its name may hold it."""
        one, other = Party("ca", "one"), Party("ca", "other")
        authorities = (one.authority(one, self._blocks("0a01")), other.authority(other, self._blocks("0a02")))
        der = one.certify(Party("spoke1", "leaf"), self._blocks("0a0203"), ca=False)
        certificate = read_certificate(der)
        assert isinstance(certificate, Certificate)
        assert judged(certificate, authorities) is Reason.RESOURCES_EXCEED_ISSUER
        lenient = replace(POLICY, overclaiming_issuers=("CN=ca",))
        assert judged(certificate, authorities, by=lenient) is None

    @pytest.mark.parametrize("nothing", [sequence(), sequence(sequence(tlv(4, b"\x00\x01"), sequence()))])
    def test_a_ca_whose_extension_names_nothing_holds_nothing(self, nothing: bytes) -> None:
        """A CA without the extension limits nothing."""
        ca = Party("ca", "one")
        empty = x509.UnrecognizedExtension(x509.ObjectIdentifier(BLOCKS), nothing)
        certificate = read_certificate(ca.certify(Party("spoke1", "leaf"), self._blocks("0a0203"), ca=False))
        assert isinstance(certificate, Certificate)
        assert judged(certificate, (ca.authority(ca, empty),)) is Reason.RESOURCES_EXCEED_ISSUER
        assert judged(certificate, (ca.authority(),)) is None


def test_a_signature_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later store, made after a new CRL, uses the same cache."""
    cache = SignerCache()
    store = TrustStore([ROOT.authority()], signer_cache=cache)
    certificate = ROOT.leaf()
    assert store.chains(certificate).found
    monkeypatch.setattr("dmvpn_agent.x509.signature.Signature.is_by", lambda *_: 1 / 0)
    assert TrustStore(store.given, signer_cache=cache).chains(certificate).found
