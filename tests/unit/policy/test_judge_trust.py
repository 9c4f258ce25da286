"""Decisions by time, CRLs and chains, and by the peers that charon knows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deciding import AS, CA, GRE, OWN, STRANGER, denial_of, peer_of, revoked, revoking, trusting
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.x509.trust import Chain, Issuer, Trust, VerifiedCrl
from factories import NOW, POLICY, YEAR, certificate, decide, policy, request

ROOT = replace(CA, fingerprint="root", subject="CN=root", subject_rfc4514="CN=root", serial=99)

DAY = timedelta(days=1)


class TestTime:
    """The validity period."""

    @pytest.mark.parametrize("moment", [NOW - YEAR, NOW + YEAR])
    def test_the_ends_of_the_validity_period_are_valid(self, moment: Any) -> None:
        """RFC 5280, section 4.1.2.5: the period is inclusive."""
        assert isinstance(decide(request(), now=moment), Accept)

    def test_a_cached_certificate_expires_too(self) -> None:
        """No cached result outlasts the certificate."""
        judge = Judge(POLICY, Trust())
        assert isinstance(judge.decide(request(), NOW), Accept)
        assert isinstance(judge.decide(request(), NOW + YEAR + timedelta(seconds=1)), Deny)


class TestRevocation:
    """CRLs."""

    @pytest.mark.parametrize("moment", [datetime.min, datetime.max])
    def test_a_crl_of_the_first_or_last_day_of_the_calendar_is_compared(self, moment: datetime) -> None:
        """A CA may write any date; none raises."""
        always = VerifiedCrl("CN=CA", 7, moment.replace(tzinfo=UTC), None, set(), NOW + YEAR)
        assert always.is_current(NOW) is (moment is datetime.min)

    def test_a_certificate_in_its_issuers_crl_is_denied(self) -> None:
        """The denial has the serial number as openssl prints it."""
        denied = denial_of(request(), trust=revoked(certificate().serial))
        assert (denied.reason, denied.found) == (Reason.CERTIFICATE_REVOKED, f"{certificate().serial:x}")

    def test_the_crl_of_another_issuer_does_not_count(self) -> None:
        """Each issuer has its own serial numbers."""
        root = Issuer(replace(CA, fingerprint="root"), (revoking(certificate().serial),))
        assert peer_of(request(), trust=trusting(Chain((Issuer(CA), root))))

    def test_an_outdated_crl_still_revokes(self) -> None:
        """A revocation does not expire."""
        assert denial_of(request(), trust=revoked(certificate().serial, current_until=NOW - YEAR))
        assert denial_of(request(), trust=revoked(certificate().serial, this_update=NOW + YEAR))

    def test_if_a_crl_is_required_an_outdated_one_denies(self) -> None:
        """The next CRL may revoke the certificate."""
        strict = policy(requires_crl=True)
        assert peer_of(request(), strict, revoked(1))
        for missing in ({"current_until": NOW - timedelta(seconds=1)}, {"current_until": None},
                        {"this_update": NOW + timedelta(hours=1)}):  # fmt: skip
            denied = denial_of(request(), strict, revoked(1, **missing))
            assert denied.reason is Reason.REVOCATION_UNKNOWN

    def test_a_revoked_ca_denies_its_peers(self) -> None:
        """The CRL of the CA above it revokes it; a root may revoke itself."""
        chain = Chain((Issuer(CA), Issuer(ROOT, (revoking(CA.serial),))))
        assert denial_of(request(), trust=trusting(chain)).reason is Reason.ISSUER_REVOKED
        itself = Chain((Issuer(CA, (revoking(CA.serial + 1),)),), self_signed=True)
        assert peer_of(request(), trust=trusting(itself))
        asked = request(certificate=replace(certificate(), serial=8))
        itself = Chain((Issuer(CA, (revoking(CA.serial),)),), self_signed=True)
        assert denial_of(asked, trust=trusting(itself)).reason is Reason.ISSUER_REVOKED

    def test_if_a_crl_is_required_every_ca_of_the_chain_needs_one(self) -> None:
        """The root needs one too: it shows whether the CA below it is revoked."""
        strict = policy(requires_crl=True)
        ours, roots = (revoking(1),), (revoking(1),)
        assert peer_of(request(), strict, trusting(Chain((Issuer(CA, ours), Issuer(ROOT, roots)))))
        for chain in (Chain((Issuer(CA, ours), Issuer(ROOT))), Chain((Issuer(CA), Issuer(ROOT, roots)))):
            assert denial_of(request(), strict, trusting(chain)).reason is Reason.REVOCATION_UNKNOWN

    def test_a_cas_own_crl_must_be_current(self) -> None:
        """A current CRL of a newer key does not replace an outdated one of its own; both revoke."""
        strict = policy(requires_crl=True)
        old, new = revoking(1, current_until=NOW - YEAR), revoking(2, signed_by_issuer=False)
        chain = Chain((Issuer(CA, (old, new)),))
        assert denial_of(request(), strict, trusting(chain)).reason is Reason.REVOCATION_UNKNOWN
        assert peer_of(request(), strict, trusting(Chain((Issuer(CA, (new,)),))))
        for serial in (1, 2):
            asked = request(certificate=replace(certificate(), serial=serial))
            assert denial_of(asked, trust=trusting(chain)).reason is Reason.CERTIFICATE_REVOKED


class TestChain:
    """The chain of a certificate."""

    def test_a_certificate_without_a_chain_is_denied(self) -> None:
        """The denial says what is missing."""
        denied = denial_of(request(), trust=trusting())
        assert (denied.reason, denied.found) == (Reason.UNTRUSTED_ISSUER, "CN=test CA; no CA signed it")

    def test_without_any_ca_charons_verification_counts(self) -> None:
        """This is native mode without policy.ca_certificates."""
        assert peer_of(request(), trust=Trust())

    @pytest.mark.parametrize("change", [{"not_after": NOW - YEAR}, {"not_before": NOW + YEAR}])
    def test_a_ca_that_is_not_valid_now_denies(self, change: Any) -> None:
        """RFC 5280, section 6.1.3 (a) 2; the trust anchor too, as in charon."""
        for chain in (Chain((Issuer(replace(CA, **change)),)), Chain((Issuer(CA), Issuer(replace(ROOT, **change))))):
            assert denial_of(request(), trust=trusting(chain)).reason is Reason.ISSUER_NOT_VALID

    def test_a_cached_chain_expires(self) -> None:
        """It lasts no longer than the CA's certificate and the required CRL."""
        for trust, by in (
            (trusting(Chain((Issuer(replace(CA, not_after=NOW + DAY)),))), POLICY),
            (revoked(1, current_until=NOW + DAY), policy(requires_crl=True)),
        ):
            judge = Judge(by, trust)
            for days, accepted in ((0, True), (1, True), (1.001, False), (0, True), (-800, False)):
                decision = judge.decide(request(), NOW + days * DAY)
                assert isinstance(decision, Accept) is accepted

    def test_one_good_chain_is_enough(self) -> None:
        """A CA's renewed certificate may be installed beside the old one."""
        old = Chain((Issuer(replace(CA, fingerprint="old", not_after=NOW - YEAR)),))
        assert peer_of(request(), trust=trusting(old, Chain((Issuer(CA),))))


class TestConfirmation:
    """A peer with an IKE_SA confirms the certificate."""

    def test_an_ike_sa_with_its_identity_confirms_a_certificate(self) -> None:
        """Another peer behind the same address does not matter."""
        assert peer_of(request(ike_peers=frozenset({OWN, STRANGER})))

    def test_case_counts_in_a_subject_and_not_in_a_name(self) -> None:
        """charon prints the identity as sent; to it, subjects that differ in case are two peers."""
        shouted = IkePeer(OWN.identity.upper(), has_certificate=True)
        assert denial_of(request(ike_peers=frozenset({shouted}))).reason is Reason.CERTIFICATE_UNCONFIRMED
        named = request(certificate=certificate(dns_name="spoke1.example"))
        assert peer_of(replace(named, ike_peers=frozenset({IkePeer("Spoke1.Example", has_certificate=True)})))

    def test_a_name_that_charon_cuts_is_confirmed_only_by_the_only_peer(self) -> None:
        """charon prints 511 bytes and replaces the part that does not fit; other names may begin the same."""
        units = (GRE, AS, *(f"NET=192.168.{number}.0/24" for number in range(30)))
        printed = ", ".join(f"OU={unit}" for unit in units[:-10]) + ", OU=(invalid ID_DE"
        cut = IkePeer(printed[:511], has_certificate=True)
        assert peer_of(request(*units, ike_peers=frozenset({cut})))
        by_key = IkePeer("spoke6.example", has_certificate=False)
        by_eap = IkePeer("spoke6.example", has_certificate=True, unproven=True)
        for other in (STRANGER, by_key, by_eap):
            denied = denial_of(request(*units, ike_peers=frozenset({cut, other})))
            assert denied.reason is Reason.CERTIFICATE_UNCONFIRMED

    @pytest.mark.parametrize(
        "other",
        [
            "CN=spoke6",
            f"OU={GRE}, OU={AS}, CN=spoke6",
            "(invalid ID_DER_ASN1_DN)",
            "OU=GRE=10.255.0.9, OU=(invalid ID_",
        ],
    )
    def test_a_name_that_charon_cuts_is_not_confirmed_by_another_name(self, other: str) -> None:
        """nhrpd may show the certificate of a peer that had the NBMA address before."""
        units = (GRE, AS, *(f"NET=192.168.{number}.0/24" for number in range(30)))
        present = frozenset({IkePeer(other, has_certificate=True)})
        assert denial_of(request(*units, ike_peers=present)).reason is Reason.CERTIFICATE_UNCONFIRMED

    def test_a_peer_that_proved_another_certificate_confirms_none(self) -> None:
        """As one of another CA with the same name, where charon shows what it proved; a renewed one is the same."""
        other = replace(OWN, certificate="another CA's")
        assert denial_of(request(ike_peers=frozenset({other}))).reason is Reason.CERTIFICATE_UNCONFIRMED
        assert peer_of(request(ike_peers=frozenset({replace(OWN, certificate=certificate().identity)})))

    def test_it_can_be_switched_off(self) -> None:
        """Then nhrpd's certificate counts."""
        assert peer_of(request(ike_peers=frozenset({STRANGER})), policy(confirms_certificates=False))
