"""The certificate by which a request is judged, if nhrpd sends none or an outdated one."""

from dataclasses import replace
from datetime import timedelta

from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.request_certificate import with_current_certificate, with_sa_certificate
from factories import NOW, UNITS, certificate, request

OWN, OTHER = IkePeer("CN=own", has_certificate=True), IkePeer("CN=other", has_certificate=True)
MINE = certificate()
THEIRS = certificate("GRE=10.255.0.3", "AS=64513", name="other")
BARE = request(certificate=None, ike_peers=frozenset({OWN}))
SHARED = replace(BARE, ike_peers=frozenset({OWN, OTHER}))
LATER = certificate(*UNITS, "NET=192.168.7.0/24", not_before=NOW - timedelta(days=1))


class TestMissing:
    """nhrpd cannot hold a certificate of 2048 bytes or more."""

    def test_it_is_the_certificate_of_the_only_peer(self) -> None:
        """Its contents do not matter here; the policy judges them."""
        assert with_sa_certificate(BARE, [MINE]).certificate == MINE
        assert with_sa_certificate(BARE, [THEIRS]).certificate == THEIRS

    def test_of_two_certificates_of_a_peer_it_is_the_later(self) -> None:
        """The peer has an IKE_SA with each, and renewed the earlier one."""
        assert with_sa_certificate(BARE, [LATER, MINE]).certificate == LATER

    def test_a_peer_may_have_several_names(self) -> None:
        """It has IKE_SAs by subject, by subjectAltName or with a renewed certificate."""
        names = frozenset(IkePeer(name, has_certificate=True) for name in (*MINE.identities, *LATER.identities))
        assert len(names) > 1
        assert with_sa_certificate(replace(BARE, ike_peers=names), [MINE, LATER]).certificate == LATER

    def test_with_two_peers_or_none_there_is_no_certificate(self) -> None:
        """Either of two peers may ask for the other's address."""
        for proven in ([THEIRS, MINE], [MINE], [THEIRS]):
            assert with_sa_certificate(SHARED, proven).certificate is None
        assert with_sa_certificate(BARE, []).certificate is None

    def test_nhrpds_certificate_counts(self) -> None:
        """charon's state may be older than the request."""
        asked = request(ike_peers=frozenset({OWN}))
        assert with_sa_certificate(asked, [LATER]) is asked


class TestRenewed:
    """nhrpd does not ask again when a peer returns with another certificate."""

    def test_the_peers_current_certificate_replaces_the_former(self) -> None:
        """Issuer and subject are the same, except for the resources."""
        assert with_current_certificate(request(), [LATER]).certificate == LATER

    def test_the_former_certificate_counts_while_it_is_in_use(self) -> None:
        """The peer has two IKE_SAs, and the former is about to go."""
        assert with_current_certificate(request(), [MINE, LATER]).certificate == MINE

    def test_an_earlier_certificate_counts_if_the_peer_authenticated_with_it(self) -> None:
        """nhrpd may send the later one of an IKE_SA that is gone; the earlier one may be revoked."""
        assert with_current_certificate(request(certificate=LATER), [MINE]).certificate == MINE

    def test_another_peers_certificate_is_not_used(self) -> None:
        """Another rule decides about the peer that is there."""
        asked = request()
        assert with_current_certificate(asked, [THEIRS]) is asked
