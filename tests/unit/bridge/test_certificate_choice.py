"""Which of several certificates that match its identity an IKE_SA gets."""

from datetime import datetime, timedelta
from ipaddress import ip_address

import pytest

from dmvpn_agent.bridge.certificate_choice import Chosen, NotFound, choose
from dmvpn_agent.bridge.certificate_index import Match
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.ike_identity import MAX_PRINTED
from factories import NOW, UNITS, certificate

DAY = timedelta(days=1)
HERE, PEER = ip_address("203.0.113.1"), ip_address("203.0.113.2")
WIDER = (*UNITS, "NET=192.168.9.0/24")
OTHER_NETWORK = (*UNITS[:2], "NET=192.168.9.0/24")


def _sa(established_at: datetime | None = NOW, identity: str = "CN=spoke1") -> IkeSa:
    return IkeSa(
        1, "dmvpn", "ESTABLISHED", HERE, PEER, 500, "CN=hub", identity, "1", "2", established_at=established_at
    )


def _choose(*matching: Certificate, established_at: datetime | None = NOW) -> Chosen | NotFound:
    return choose(_sa(established_at), [Match(one, certain=True) for one in matching], NOW)


def _none(*matching: Certificate) -> NotFound:
    found = _choose(*matching)
    assert isinstance(found, NotFound)
    return found


def test_of_equally_privileged_ones_the_newest_counts() -> None:
    """An ordinary renewal is not reported."""
    old, new = certificate(), certificate(not_before=NOW - DAY)
    assert _choose(old, new) == _choose(new, old) == Chosen(new)


def test_the_least_privileged_counts_even_if_it_is_older() -> None:
    """A peer gains nothing by a certificate that it may not have used."""
    narrow, wide = certificate(not_before=NOW - DAY), certificate(*WIDER)
    assert _choose(narrow, wide) == Chosen(narrow, (wide,))
    older, newer = certificate(), certificate(*WIDER, not_before=NOW - DAY)
    assert _choose(older, newer) == Chosen(older, (newer,))


def test_a_renewal_helps_if_a_newer_certificate_does_not_count() -> None:
    """If the newest counts already, the peer need not authenticate again."""
    old, new = certificate(), certificate(not_before=NOW - DAY)
    assert Chosen(old, (new,)).renewable
    assert not Chosen(new, (old,)).renewable


def test_of_incomparable_ones_none_counts_until_a_renewal() -> None:
    """Each entitles to a network that the other does not."""
    found = _none(certificate(*UNITS), certificate(*OTHER_NETWORK))
    assert found.renewable
    assert not found.perhaps_flushed
    assert "192.168.2.0/24" in found.why
    assert "192.168.9.0/24" in found.why


def test_certificates_of_two_peers_never_count() -> None:
    """However narrow one of them is. Authenticating again would change nothing."""
    found = _none(certificate(*UNITS), certificate(*UNITS, name="spoke2"))
    assert not found.renewable
    assert not found.perhaps_flushed
    assert "CN=spoke1" in found.why
    assert "CN=spoke2" in found.why


def test_a_certificate_that_is_not_valid_now_does_not_count() -> None:
    """Neither an expired one, nor one that is not valid yet."""
    assert _none(certificate(not_after=NOW - DAY), certificate(not_before=NOW + DAY)).perhaps_flushed
    assert _none(certificate(not_after=NOW - DAY)) != _none()


def test_a_certificate_issued_after_the_ike_sa_came_up_does_not_count() -> None:
    """Clocks may differ by some seconds. If the IKE_SA's time is unknown, the certificate may be the one."""
    old, new = certificate(), certificate(not_before=NOW - DAY)
    assert _choose(old, new, established_at=NOW - 2 * DAY) == Chosen(old)
    assert _choose(old, new, established_at=NOW - DAY - timedelta(seconds=2)) == Chosen(new)
    assert _choose(old, new, established_at=NOW - DAY - timedelta(seconds=6)) == Chosen(old)
    assert _choose(old, new, established_at=None) == Chosen(new)


def test_without_a_match_the_ike_sa_gets_none() -> None:
    """A flush of the cache may be the reason."""
    assert _none().perhaps_flushed
    assert not _none().renewable


@pytest.mark.parametrize("identity", ["CN=M??ller", "x" * MAX_PRINTED], ids=["not ASCII", "truncated"])
def test_an_identity_that_may_be_another_peers_proves_nothing(identity: str) -> None:
    """The only match in the cache may be the wrong peer's."""
    matches = [Match(certificate(), certain=False)] if len(identity) < MAX_PRINTED else []
    found = choose(_sa(identity=identity), matches, NOW)
    assert found == choose(_sa(), [Match(certificate(), certain=False)], NOW) != _none()


def test_an_expired_certain_match_is_the_reason_even_beside_a_valid_uncertain_one() -> None:
    """The peer needs a renewal, not another identity."""
    matches = [Match(certificate(not_after=NOW - DAY), certain=True), Match(certificate(), certain=False)]
    assert choose(_sa(), matches, NOW) == _none(certificate(not_after=NOW - DAY))


def test_a_certain_match_does_not_make_a_less_privileged_one_certain() -> None:
    """The certificate that counts must itself be certain."""
    narrow, wide = certificate(), certificate(*WIDER)
    found = choose(_sa(), [Match(narrow, certain=False), Match(wide, certain=True)], NOW)
    assert isinstance(found, NotFound)
    assert "subjectAltName" in found.todo
