"""Which certificate an IKE identity was authenticated with."""

from datetime import timedelta

import pytest

import certificates
from dmvpn_agent.wire.candidates import Ambiguous, by_identity, newest
from factories import NOW, UNITS, YEAR, certificate

SPOKE1 = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"


def test_certificates_are_found_by_what_they_prove() -> None:
    """What is no certificate is left out: bytes of a cache are not trusted to be some."""
    known = certificate()
    version_six = certificates.der().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    assert dict(by_identity([b"", b"\x30\x00", version_six, known.der])) == {SPOKE1: [known]}


def test_of_a_peers_certificates_the_newest_counts() -> None:
    """What the CA said last is in force."""
    old, new = certificate(), certificate(not_before=NOW - YEAR + timedelta(days=1))
    assert newest([old, new]) == newest([new, old]) == new


def test_two_peers_are_never_taken_for_one() -> None:
    """Both are named, and neither is taken."""
    with pytest.raises(Ambiguous, match=r"CN=spoke1 .* CN=spoke2"):
        newest([certificate(*UNITS), certificate(*UNITS, name="spoke2")])


def test_of_none_there_is_none() -> None:
    """An identity that nothing proves."""
    assert newest([]) is None
