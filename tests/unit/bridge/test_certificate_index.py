"""Which certificate an IKE identity was authenticated with."""

from datetime import datetime, timedelta
from typing import NoReturn

import pytest

import certificates
from certificates import COMMON_NAME, PRINTABLE, SUBJECT_ALT_NAME, UTF8, attribute, name
from dmvpn_agent.bridge.certificate_index import Ambiguous, Candidate, CertificateIndex, Choice, choose
from dmvpn_agent.x509.certificate import Certificate
from factories import NOW, UNITS, certificate

SPOKE1 = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
DAY = timedelta(days=1)


def _choose(*given: Certificate, established_at: datetime | None = NOW) -> Choice | None:
    return choose([Candidate(one, certain=True) for one in given], NOW, established_at)


class TestProof:
    """What charon can have authenticated an identity with."""

    def test_certificates_are_found_by_what_they_prove(self) -> None:
        """Octets that are not a certificate are skipped: a cache may hold any."""
        one = certificate()
        version_six = certificates.der().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
        assert CertificateIndex([b"", b"\x30\x00", version_six, one.der]).of(SPOKE1) == [Candidate(one, certain=True)]
        assert CertificateIndex([one.der]).of("CN=spoke1") == []

    def test_case_counts_except_in_a_printable_string(self) -> None:
        """charon prints what the peer sent, and takes it for the subject whatever its case there."""
        printable = name(attribute(COMMON_NAME, "Hub", PRINTABLE))
        assert CertificateIndex([certificates.der(printable)]).of("CN=hUB") == [
            Candidate(certificates.read(printable), True)
        ]
        assert CertificateIndex([certificates.der(name(attribute(COMMON_NAME, "Hub", UTF8)))]).of("CN=hUB") == []

    def test_case_does_not_count_in_a_dns_name(self) -> None:
        """Nor in a mail address (``equals_strcasecmp``)."""
        with_name = certificate(dns_name="Spoke1.example")
        assert CertificateIndex([with_name.der]).of("spoke1.EXAMPLE") == [Candidate(with_name, certain=True)]

    @pytest.mark.parametrize(
        "subject",
        [
            name(attribute(COMMON_NAME, "*")),
            name(attribute(COMMON_NAME, "M\u00fcller")),
            name(attribute(COMMON_NAME, "a, OU=b")),
            name(attribute(COMMON_NAME, "(invalid ID_DER_ASN1_DN)")),
        ],
        ids=["pattern", "not ASCII", "like two attributes", "like one that was cut"],
    )
    def test_a_name_that_another_is_printed_like_proves_nothing(self, subject: bytes) -> None:
        """Only the other's certificate may be in the cache."""
        found = certificates.read(subject)
        (text,) = found.identities
        assert CertificateIndex([found.der]).of(text) == [Candidate(found, certain=False)]
        assert choose(CertificateIndex([found.der]).of(text), NOW, NOW) is None

    @pytest.mark.parametrize(
        "disguise", [(2, b"CN=spoke1"), (1, b"CN=spoke1"), (6, b"CN=spoke1")], ids=["dns", "mail", "uri"]
    )
    def test_an_identity_of_another_kind_that_is_printed_alike_is_seen(self, disguise: tuple[int, bytes]) -> None:
        """Neither peer is taken for the other."""
        alternatives = certificates.extension(SUBJECT_ALT_NAME, certificates.alternatives(disguise))
        other = certificates.der(name(attribute(COMMON_NAME, "other")), [alternatives])
        found = CertificateIndex([certificates.der(), other]).of("CN=spoke1")
        assert sorted(one.certain for one in found) == [False, True]
        with pytest.raises(Ambiguous, match="CN=other"):
            choose(found, NOW, NOW)

    def test_a_serial_number_can_be_an_identity(self) -> None:
        """charon takes an ID_KEY_ID that is a certificate's serial number, and prints it as text if it is."""
        other = certificates.der(
            name(attribute(COMMON_NAME, "other")), serial=certificates.integer(int.from_bytes(b"CN=spoke1"))
        )
        assert [one.certain for one in CertificateIndex([other]).of("CN=spoke1")] == [False]

    @pytest.mark.parametrize("serial", [-5, -1, -128, -129, -(2**159), -(2**479), 0, 127, 128, 2**160, 2**479 - 1])
    def test_no_serial_number_is_too_odd(self, serial: int) -> None:
        """Whoever shows charon such a certificate has it in the cache; all the others there prove what they prove."""
        odd = certificates.der(name(attribute(COMMON_NAME, "stranger")), serial=certificates.integer(serial))
        assert [one.certificate.subject for one in CertificateIndex([odd, certificates.der()]).of("CN=spoke1")] == [
            "CN=spoke1"
        ]

    def test_the_magnitude_of_a_negative_serial_number_can_be_an_identity(self) -> None:
        """As charon's openssl plugin has it."""
        odd = certificates.der(
            name(attribute(COMMON_NAME, "other")), serial=certificates.integer(-int.from_bytes(b"spoke1"))
        )
        assert [one.certain for one in CertificateIndex([odd]).of("spoke1")] == [False]

    def test_what_cannot_be_read_is_named(self) -> None:
        """With why; it proves nothing."""
        known = CertificateIndex([b"no certificate", certificates.der()])
        assert list(known.unreadable) == [b"no certificate"]
        assert known.unreadable[b"no certificate"].startswith("not readable: ")

    def test_an_exception_of_a_library_is_not_the_readers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Libraries have many versions, and certificates many forms."""

        def fail(_: object) -> NoReturn:
            raise KeyError("\x1b[2J")

        monkeypatch.setattr("dmvpn_agent.bridge.certificate_index.printed_identities", fail)
        der = certificates.der(name(attribute(COMMON_NAME, "of this test")))
        assert CertificateIndex([der]).unreadable == {der: "its identities are not readable: '\\x1b[2J'"}

    def test_a_pattern_in_a_dns_name_is_nobody(self) -> None:
        """charon lets a peer of another name authenticate under it."""
        found = CertificateIndex([certificate(dns_name="*.example").der]).of("*.example")
        assert [one.certain for one in found] == [False]


class TestChoice:
    """Of several certificates of one identity."""

    def test_of_equal_ones_the_newest_counts(self) -> None:
        """An ordinary renewal is nothing to speak of."""
        old, new = certificate(), certificate(not_before=NOW - DAY)
        assert _choose(old, new) == _choose(new, old) == Choice(new)

    def test_the_narrower_counts_whichever_is_newer(self) -> None:
        """Nobody gains by a certificate that may not be the one that was used."""
        narrow, wide = certificate(not_before=NOW - DAY), certificate(*UNITS, "NET=192.168.9.0/24")
        assert _choose(narrow, wide) == Choice(narrow, (wide,))
        assert not Choice(narrow, (wide,)).outdated
        older = certificate()
        newer = certificate(*UNITS, "NET=192.168.9.0/24", not_before=NOW - DAY)
        assert _choose(older, newer) == Choice(older, (newer,))
        assert Choice(older, (newer,)).outdated

    def test_of_incomparable_ones_none_counts(self) -> None:
        """One entitles to this, the other to that."""
        one, other = certificate(*UNITS), certificate(*UNITS[:2], "NET=192.168.9.0/24")
        with pytest.raises(Ambiguous, match=r"NET=192.168.2.0/24.* and .*NET=192.168.9.0/24") as raised:
            _choose(one, other)
        assert raised.value.one_peers

    def test_two_peers_are_never_taken_for_one(self) -> None:
        """Both are named, and neither is taken, however narrow one of them is."""
        with pytest.raises(Ambiguous, match=r"CN=spoke1 .* CN=spoke2") as raised:
            _choose(certificate(*UNITS), certificate(*UNITS, name="spoke2"))
        assert not raised.value.one_peers

    def test_what_is_not_valid_now_is_none(self) -> None:
        """Neither over nor to come."""
        assert _choose(certificate(not_after=NOW - DAY), certificate(not_before=NOW + DAY)) is None

    def test_what_was_issued_after_the_ike_sa_came_up_is_none(self) -> None:
        """But for what the clocks may differ; without a time for the IKE_SA it may be the one."""
        old, new = certificate(), certificate(not_before=NOW - DAY)
        assert _choose(old, new, established_at=NOW - 2 * DAY) == Choice(old)
        assert _choose(old, new, established_at=NOW - DAY - timedelta(seconds=2)) == Choice(new)
        assert _choose(old, new, established_at=None) == Choice(new)

    def test_of_none_there_is_none(self) -> None:
        """An identity that nothing proves."""
        assert _choose() is None
