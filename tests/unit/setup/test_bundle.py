"""A bundle: what is read of it, and what is refused."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import PurePath

import pytest

import bundles
from dmvpn_agent.setup.bundle import WrongPassphrase, is_host, passphrase_in_name, read_bundle
from dmvpn_agent.setup.refusal import Refused
from dmvpn_agent.x509.certificate import Role
from dmvpn_agent.x509.pem import is_cut_off
from guide_ca import Authority

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")

NOW = datetime.now(UTC)


def refused(data: bytes, passphrase: str | None = None, now: datetime = NOW) -> list[str]:
    with pytest.raises(Refused) as info:
        read_bundle(data, passphrase, now)
    assert all(one.found and one.expected and one.do for one in info.value.refusals)
    return [one.what for one in info.value.refusals]


def test_a_spokes_bundle_of_the_guide() -> None:
    bundle = read_bundle(bundles.pfx(bundles.guide(), "pw"), "pw", NOW)
    assert (bundle.role, bundle.as_numbers, bundle.dmvpn_ca) == (Role.SPOKE, (65017,), False)
    assert bundle.protocol_addresses == (IPv4Address("10.255.0.17"),)
    assert bundle.prefixes == (IPv4Network("192.168.17.0/24"),)
    assert len(bundle.authorities) == 1
    assert b"PRIVATE KEY" in bundle.key
    assert "PRIVATE" not in repr(bundle)


def test_a_hubs_bundle_of_dmvpn_ca_carries_the_blocks_and_owns_none() -> None:
    bundle = read_bundle(bundles.pfx(bundles.of_dmvpn_ca("")), None, NOW)
    assert (bundle.role, bundle.as_numbers, bundle.dmvpn_ca) == (Role.HUB, (65000,), True)
    assert set(bundle.carried) == set(bundles.HUB_BLOCKS)
    assert bundle.prefixes == ()
    assert bundle.hub_hosts == ("hubs.example.com",)


def test_pem_is_read_like_pkcs12() -> None:
    credentials = bundles.guide()
    pem = credentials.certificate + credentials.key + credentials.ca_certificate
    assert read_bundle(pem, None, NOW).protocol_addresses == (IPv4Address("10.255.0.17"),)


def test_a_wrong_passphrase() -> None:
    data = bundles.pfx(bundles.guide(), "right")
    for wrong in (None, "", "wrong"):
        with pytest.raises(WrongPassphrase):
            read_bundle(data, wrong, NOW)


def test_a_bundle_that_was_cut_off_is_not_taken_for_a_wrong_passphrase() -> None:
    """At any point behind its head; a whole one, and one with an indefinite length, say nothing of the kind."""
    whole = bundles.pfx(bundles.guide(), "secret")
    for left in (40, 300, len(whole) - 1):
        assert refused(whole[:left], "secret") == ["the bundle"]
    assert not is_cut_off(whole)
    assert not is_cut_off(b"\x30\x80\x02\x01\x03")


def test_pem_that_was_cut_off_is_named() -> None:
    """Within a block; between two there is nothing to see, and a part is missing then."""
    credentials = bundles.guide()
    whole = credentials.key + credentials.certificate + credentials.ca_certificate
    for left in (len(whole) - 3, len(whole) - 300, len(credentials.key) + 100):
        assert refused(whole[:left]) == ["the bundle"]
    assert refused(whole[: -len(credentials.ca_certificate)]) == ["the bundle's chain"]


def test_a_passphrase_in_the_files_name_as_dmvpn_ca_writes_it() -> None:
    assert passphrase_in_name(PurePath("/x/FIN_1.Pa55.pfx")) == "Pa55"
    assert passphrase_in_name(PurePath("node.pfx")) is None


@pytest.mark.parametrize("data", [b"", b"0", b"PK\x03\x04 not a bundle", b"\x30\x03\x02\x01\x03" + b"\xff" * 40])
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises((Refused, WrongPassphrase)):
        read_bundle(data, None, NOW)


def test_a_bundle_that_lacks_a_part() -> None:
    assert refused(bundles.pfx(bundles.guide(), key=False)) == ["the bundle's key"]
    assert refused(bundles.pfx(bundles.guide(), chain=False)) == ["the bundle's chain"]
    assert refused(bundles.guide().key) == ["the bundle's certificate"]


def test_a_certificate_of_another_ca_than_the_bundles() -> None:
    one, other = bundles.guide(), Authority()
    data = one.certificate + one.key + other.root
    assert refused(data) == ["the bundle's chain"]


def test_a_certificate_without_resources() -> None:
    assert refused(bundles.pfx(bundles.guide(("Sales",)))) == ["the certificate's resources"]


@pytest.mark.parametrize(
    "unit", ["GRE=10.255.0.300", "AS=0x1", "NET=192.168.17.1/24", "gre=10.255.0.17", "NET= 10.0.0.0/8"]
)
def test_a_malformed_resource_is_named(unit: str) -> None:
    (what,) = refused(bundles.pfx(bundles.guide((*bundles.SPOKE, unit))))
    assert what.startswith("the certificate's ")


def test_the_clock_is_before_or_after_the_certificate() -> None:
    data = bundles.pfx(bundles.guide())
    assert refused(data, now=NOW - timedelta(days=3)) == ["this machine's clock, or the certificate"]
    assert refused(data, now=NOW + timedelta(days=400)) == ["the bundle's certificate"]


@pytest.mark.parametrize("text", ["hub.example.com", "203.0.113.1", "h"])
def test_hosts(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "300.1.1.1", "a b", "hub\nno nhrp", "-x.example", "a..b", "hub;x", "x" * 300]
)
def test_what_is_no_host_never_gets_into_a_file(text: str) -> None:
    assert not is_host(text)


def test_the_key_is_the_one_of_the_certificate() -> None:
    """Two keys in one file: the one that has the certificate counts, and another key alone is refused."""
    one, other = bundles.guide(), bundles.guide()
    assert refused(one.certificate + other.key + one.ca_certificate) == ["the bundle's certificate"]
