"""The decision on one binding: time, CRLs, and what charon says of who asks."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deciding import AS, GRE, OWN, STRANGER, denial_of, peer_of, revoked
from dmvpn_agent.core.decision import Judge
from dmvpn_agent.core.model import Accept, Deny, IkePeer, Reason
from dmvpn_agent.core.policy import Trust
from factories import NOW, POLICY, YEAR, certificate, decide, policy, request


class TestTime:
    """What only time changes."""

    @pytest.mark.parametrize("moment", [NOW - YEAR, NOW + YEAR])
    def test_the_ends_of_the_validity_are_valid(self, moment: Any) -> None:
        """RFC 5280 4.1.2.5: the period is inclusive."""
        assert isinstance(decide(request(), now=moment), Accept)

    def test_a_remembered_certificate_expires_too(self) -> None:
        """Nothing that is remembered outlasts the certificate."""
        judge = Judge(POLICY, Trust())
        assert isinstance(judge.decide(request(), NOW), Accept)
        assert isinstance(judge.decide(request(), NOW + YEAR + timedelta(seconds=1)), Deny)


class TestRevocation:
    """CRLs."""

    def test_a_certificate_in_its_issuers_crl_is_denied(self) -> None:
        """The serial number is named as openssl prints it."""
        denied = denial_of(request(), trust=revoked(certificate().serial))
        assert (denied.reason, denied.found) == (Reason.CERTIFICATE_REVOKED, f"{certificate().serial:x}")

    def test_the_crl_of_another_issuer_says_nothing(self) -> None:
        """Serial numbers are an issuer's own."""
        crl = revoked(certificate().serial).revocations[certificate().issuer_name]
        assert peer_of(request(), trust=Trust(revocations={b"another": crl}))

    def test_an_outdated_crl_still_revokes(self) -> None:
        """Whom it names is not let in because time went by."""
        assert denial_of(request(), trust=revoked(certificate().serial, next_update=NOW - YEAR))

    def test_where_a_crl_is_required_an_outdated_one_denies(self) -> None:
        """Who is not in it may be in the next."""
        strict = policy(requires_crl=True)
        assert peer_of(request(), strict, revoked(1))
        denied = denial_of(request(), strict, revoked(1, next_update=NOW - timedelta(seconds=1)))
        assert denied.reason is Reason.REVOCATION_UNKNOWN


class TestConfirmation:
    """Who has an IKE_SA with the NBMA address."""

    def test_a_certificate_whose_identity_is_there_is_confirmed(self) -> None:
        """Another peer behind the same address does not matter."""
        assert peer_of(request(ike_peers=frozenset({OWN, STRANGER})))

    def test_case_counts_in_a_subject_and_not_in_a_name(self) -> None:
        """charon prints the identity as the peer sent it; two subjects that differ in case are two peers to it."""
        shouted = IkePeer(OWN.identity.upper(), has_certificate=True)
        assert denial_of(request(ike_peers=frozenset({shouted}))).reason is Reason.CERTIFICATE_UNCONFIRMED
        named = request(certificate=certificate(dns_name="spoke1.example"))
        assert peer_of(replace(named, ike_peers=frozenset({IkePeer("Spoke1.Example", has_certificate=True)})))

    def test_a_name_that_charon_cuts_is_confirmed_only_where_nobody_else_is_there(self) -> None:
        """It prints 511 bytes, and replaces the part that does not fit: others may begin alike."""
        units = (GRE, AS, *(f"NET=192.168.{number}.0/24" for number in range(30)))
        printed = ", ".join(f"OU={unit}" for unit in units[:-10]) + ", OU=(invalid ID_DE"
        cut = IkePeer(printed[:511], has_certificate=True)
        assert peer_of(request(*units, ike_peers=frozenset({cut})))
        assert (
            denial_of(request(*units, ike_peers=frozenset({cut, STRANGER}))).reason is Reason.CERTIFICATE_UNCONFIRMED
        )

    def test_it_can_be_switched_off(self) -> None:
        """Then nhrpd's word counts."""
        assert peer_of(request(ike_peers=frozenset({STRANGER})), policy(confirms=False))
