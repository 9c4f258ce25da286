"""Which IKE_SA belongs to the peer that asked."""

from dataclasses import replace
from ipaddress import ip_address

from certificates import COMMON_NAME, attribute, name, read
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.policy.request import is_sa_of
from factories import NBMA, request

SA = IkeSa(1, "dmvpn", "ESTABLISHED", ip_address("203.0.113.1"), NBMA, 500, "CN=hub", "CN=spoke1", "a", "0")
OTHER = replace(SA, unique_id=2, remote_id="CN=spoke2", initiator_spi="b")


def test_without_certificate_and_identity_the_only_ike_sa_belongs_to_the_peer() -> None:
    """Of two IKE_SAs neither does."""
    asked = request(certificate=None, ike_peers=None)
    assert is_sa_of(SA, asked, (SA,))
    assert not is_sa_of(SA, asked, (SA, OTHER))


def test_without_certificate_the_identity_decides() -> None:
    """The request has the identity from the time when the peer asked."""
    asked = request(certificate=None, ike_peers=frozenset({IkePeer(SA.remote_id, has_certificate=False)}))
    assert is_sa_of(SA, asked, (SA, OTHER))
    assert not is_sa_of(OTHER, asked, (SA, OTHER))


def test_a_certificate_whose_subject_cannot_be_printed_owns_the_only_ike_sa() -> None:
    """Of two IKE_SAs it owns neither."""
    unprintable = read(name(attribute(COMMON_NAME, b"spoke1", 0x04)))
    assert not any("=" in identity for identity in unprintable.identities)
    asked = request(certificate=unprintable, ike_peers=frozenset({IkePeer(SA.remote_id, has_certificate=True)}))
    assert is_sa_of(SA, asked, (SA,))
    assert not is_sa_of(SA, asked, (SA, OTHER))


def test_an_ike_sa_with_another_address_or_one_that_is_gone_belongs_to_no_peer() -> None:
    """The peer has moved, or the IKE_SA is gone."""
    asked = request(certificate=None, ike_peers=None)
    assert not is_sa_of(replace(SA, remote_host=NBMA + 1), asked, (SA,))
    assert not is_sa_of(SA, asked, ())
