"""Which certificate a question is judged by, where nhrpd shows none, or a former one."""

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
    """nhrpd holds no certificate of 2048 bytes and more."""

    def test_it_is_that_of_the_only_peer_there(self) -> None:
        """Whatever it names: the policy says what is wrong with it."""
        assert with_sa_certificate(BARE, [MINE]).certificate == MINE
        assert with_sa_certificate(BARE, [THEIRS]).certificate == THEIRS

    def test_of_a_peers_two_it_is_the_later(self) -> None:
        """It has an IKE_SA by each, and renewed the former."""
        assert with_sa_certificate(BARE, [LATER, MINE]).certificate == LATER

    def test_a_peer_may_have_several_names(self) -> None:
        """It has an IKE_SA by its subject and one by its subjectAltName, or by a renewed certificate."""
        names = frozenset(IkePeer(name, has_certificate=True) for name in (*MINE.identities, *LATER.identities))
        assert len(names) > 1
        assert with_sa_certificate(replace(BARE, ike_peers=names), [MINE, LATER]).certificate == LATER

    def test_nothing_is_guessed(self) -> None:
        """Two peers are there, of whom one has shown no certificate, or nobody is: either may ask for the other's."""
        for proven in ([THEIRS, MINE], [MINE], [THEIRS]):
            assert with_sa_certificate(SHARED, proven).certificate is None
        assert with_sa_certificate(BARE, []).certificate is None

    def test_what_nhrpd_shows_counts(self) -> None:
        """A look at charon may be older than the question."""
        asked = request(ike_peers=frozenset({OWN}))
        assert with_sa_certificate(asked, [LATER]) is asked


class TestRenewed:
    """nhrpd does not ask again when a peer comes back with another certificate."""

    def test_the_later_certificate_of_the_same_peer_takes_its_place(self) -> None:
        """Issuer and subject are the same but for the resources."""
        assert with_current_certificate(request(), [LATER]).certificate == LATER

    def test_the_former_one_counts_while_it_is_in_use(self) -> None:
        """Two IKE_SAs, the one about to go."""
        assert with_current_certificate(request(), [MINE, LATER]).certificate == MINE

    def test_an_earlier_one_counts_if_it_is_the_one_that_was_proved(self) -> None:
        """nhrpd may show the later one of an IKE_SA that is gone; the earlier one may be revoked."""
        assert with_current_certificate(request(certificate=LATER), [MINE]).certificate == MINE

    def test_anothers_is_none_of_it(self) -> None:
        """Who is there instead is another rule's business."""
        asked = request()
        assert with_current_certificate(asked, [THEIRS]) is asked
