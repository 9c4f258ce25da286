"""Certificates: what they say, and what is refused before it is signed."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, select

from ca_registry import NETWORKS, NOW, PASSPHRASE, make_registry, signer_of
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.authorities import issuing_authority, read_authorities, unlock
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import certificates_of, issue, latest_certificates, public_key_of_request
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.revocation import Reason, revoke
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.x509.certificate import Certificate, Role, Source
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.private_key import new_key


def certificate_of(database: Database, site: str, *prefixes: str) -> Certificate:
    with database.writing() as connection:
        if site != HUBS:
            add_site(connection, NewSite(site, tuple(map(ip_network, prefixes))), None)
        node = find_node(connection, add_node(connection, site))
        issued = issue(connection, signer_of(connection), node, new_key().public_key(), NOW)
    read = read_certificate(issued.public_bytes(Encoding.DER))
    assert isinstance(read, Certificate)
    return read


@pytest.mark.parametrize("place", list(ResourcesIn))
@pytest.mark.parametrize("site", ["FIN", HUBS])
def test_a_certificate_says_what_the_registry_has(tmp_path: Path, place: ResourcesIn, site: str) -> None:
    """In each form; the issuing function has asked the Judge."""
    database = make_registry(tmp_path / "r", Settings(resources_in=place, hub_hosts=("hub.example",)))
    read = certificate_of(database, site, "10.1.0.0/16", "fd00:0:1::/48")
    named = set(read.resources)
    if place is ResourcesIn.SUBJECT:
        assert named == {Source.SUBJECT}
    else:
        assert {Source.SUBJECT_ALT_NAME, Source.RFC3779, Source.DMVPN_CA} <= named
        assert read.resources[Source.DMVPN_CA].roles[0].value is (Role.HUB if site == HUBS else Role.SPOKE)
    assert read.hub_hosts == ("hub.example",)
    assert read.label
    assert read.label.text == ("Hub-1" if site == HUBS else "FIN-1")
    assert bool(read.site) is (site != HUBS)
    assert read.not_after - NOW == timedelta(days=365)


def test_nodes_of_one_site_may_share_its_prefixes(tmp_path: Path) -> None:
    """The agent recognizes the site by what their subjects have in common; and a renewed node as the same."""
    database = make_registry(tmp_path / "r")
    first = certificate_of(database, "FIN", "10.1.0.0/16")
    with database.writing() as connection:
        signer = signer_of(connection)
        second, again = (
            read_certificate(
                issue(connection, signer, find_node(connection, name), new_key().public_key(), NOW).public_bytes(
                    Encoding.DER
                )
            )
            for name in (add_node(connection, "FIN"), "FIN-1")
        )
    assert isinstance(second, Certificate)
    assert isinstance(again, Certificate)
    assert first.site == second.site
    assert first.identity == again.identity != second.identity


def test_a_certificate_that_nhrpd_cannot_keep_is_refused(tmp_path: Path) -> None:
    """And it is not in the registry either, nor is its node."""
    database = make_registry(tmp_path / "r")
    prefixes = [f"10.{number}.0.0/16" for number in range(0, 120, 2)]
    with pytest.raises(CaError, match=r"nhrpd keeps none of 2048 or more.*extensions"):
        certificate_of(database, "BIG", *prefixes)
    with database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(schema.certificate)).scalar() == 0
        with pytest.raises(CaError, match="no node"):
            find_node(connection, "BIG-1")


def test_extensions_take_less_room(tmp_path: Path) -> None:
    """The same prefixes fit there."""
    database = make_registry(tmp_path / "r", Settings(resources_in=ResourcesIn.EXTENSIONS))
    prefixes = [f"10.{number}.0.0/16" for number in range(0, 120, 2)]
    read = certificate_of(database, "BIG", *prefixes)
    assert [claim.text for claim in read.resources[Source.RFC3779].prefixes] == prefixes


def test_what_the_judge_denies_is_not_signed(tmp_path: Path) -> None:
    """An AS number that hubs do not allow: neither private nor in a pool."""
    database = make_registry(tmp_path / "r")
    with database.writing() as connection:
        add_site(connection, NewSite("FIN", as_number=3000), None)
        node, signer = find_node(connection, add_node(connection, "FIN")), signer_of(connection)
        with pytest.raises(CaError, match="a hub would deny FIN-1: as_number_not_allowed"):
            issue(connection, signer, node, new_key().public_key(), NOW)
        assert certificates_of(connection, node.id) == []


def test_a_certificate_that_exceeds_its_ca_is_refused(tmp_path: Path) -> None:
    """A CA with limits, and networks that were added after it was made."""
    from dmvpn_agent.ca.allocation import add_pool
    from dmvpn_agent.ca.block import Block, Kind

    database = make_registry(tmp_path / "r", Settings(resources_in=ResourcesIn.EXTENSIONS), bounded=True,
                             with_issuing=True)  # fmt: skip
    assert certificate_of(database, "FIN", "10.1.0.0/16")
    with database.writing() as connection:
        add_pool(connection, Block.of_network(Kind.PREFIX, ip_network("192.168.0.0/16")))
    with pytest.raises(CaError, match="resources_exceed_issuer"):
        certificate_of(database, "SWE", "192.168.1.0/24")


def test_a_node_does_not_outlive_its_ca(tmp_path: Path) -> None:
    """The certificate ends with the CA, and none is issued in the CA's last hour or outside its time."""
    database = make_registry(tmp_path / "r", Settings(node_days=36500))
    assert certificate_of(database, "FIN").not_after == NOW + timedelta(days=7300)
    with database.writing() as connection:
        end = NOW + timedelta(days=7300, minutes=-30)
        node = find_node(connection, "FIN-1")
        with pytest.raises(CaError, match="the CA expires"):
            issue(connection, signer_of(connection, end), node, new_key().public_key(), end)
        for now, words in ((NOW - timedelta(days=1), "set the clock"), (NOW + timedelta(days=8000), "expired")):
            with pytest.raises(CaError, match=words):
                signer_of(connection, now)


def test_a_request_gives_nothing_but_its_key(tmp_path: Path) -> None:
    """Names and extensions in it are the node's wishes."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "GRE=10.255.0.9")])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hub")]), critical=False)
        .sign(key, SHA256())
    )
    database = make_registry(tmp_path / "r")
    with database.writing() as connection:
        add_site(connection, NewSite("FIN"), None)
        node = find_node(connection, add_node(connection, "FIN"))
        public = public_key_of_request(request.public_bytes(Encoding.PEM))
        issued = issue(connection, signer_of(connection), node, public, NOW)
    assert "10.255.0.9" not in issued.subject.rfc4514_string()
    assert issued.public_key() == key.public_key()
    with pytest.raises(x509.ExtensionNotFound):
        issued.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_forged_request_is_refused() -> None:
    """Not signed by its key, and not a request at all."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(new_key(), SHA256())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    for data in (bytes(der), b"", b"-----BEGIN x", b"\x30\x00"):
        with pytest.raises(CaError, match=r"request|its own key"):
            public_key_of_request(data)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP192R1()), rsa.generate_private_key(65537, 1024)])
def test_a_weak_key_is_refused(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    """It would be the weakest part of the network."""
    database = make_registry(tmp_path / "r")
    with database.writing() as connection:
        node, signer = find_node(connection, add_node(connection, HUBS)), signer_of(connection)
        with pytest.raises(CaError, match="bits"):
            issue(connection, signer, node, key.public_key(), NOW)


def test_a_compromised_key_is_refused(tmp_path: Path) -> None:
    """For every node: whoever has the key would be let in again. After another reason the key may be used again."""
    database = make_registry(tmp_path / "r")
    kept, stolen = new_key().public_key(), new_key().public_key()
    with database.writing() as connection:
        first, second = (find_node(connection, add_node(connection, HUBS)) for _ in range(2))
        signer = signer_of(connection)
        for node, key, reason in ((second, kept, Reason.CESSATION), (first, stolen, Reason.KEY_COMPROMISE)):
            issue(connection, signer, node, key, NOW)
            revoke(connection, node.id, node.name, reason, NOW)
        for node in (first, second):
            with pytest.raises(CaError, match="compromised"):
                issue(connection, signer, node, stolen, NOW)
            assert issue(connection, signer, node, kept, NOW)


def test_a_wrong_passphrase_is_named(tmp_path: Path) -> None:
    """And the right one opens both CAs."""
    database = make_registry(tmp_path / "r", with_issuing=True)
    with database.reading() as connection:
        for authority in read_authorities(connection):
            assert unlock(authority, PASSPHRASE, NOW)
        for wrong in (b"", b"wrong"):
            with pytest.raises(CaError, match="passphrase is wrong"):
                unlock(issuing_authority(connection), wrong, NOW)


def test_the_roots_key_can_be_elsewhere(tmp_path: Path) -> None:
    """It is in the file only, and the registry issues all the same."""
    database = make_registry(tmp_path / "r", with_issuing=True, root_key=tmp_path / "root.pem")
    assert (tmp_path / "root.pem").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert (tmp_path / "root.pem").stat().st_mode & 0o777 == 0o600
    with database.reading() as connection:
        root, issuing = read_authorities(connection)
        assert root.key is None
        assert issuing.key
    assert certificate_of(database, "FIN")


def test_the_registry_knows_every_certificate(tmp_path: Path) -> None:
    """The latest last."""
    database = make_registry(tmp_path / "r")
    read = certificate_of(database, "FIN")
    with database.writing() as connection:
        node = find_node(connection, "FIN-1")
        again = issue(connection, signer_of(connection), node, new_key().public_key(), NOW)
        known = certificates_of(connection, node.id)
        assert [one.serial for one in known] == [read.serial, again.serial_number]
        assert latest_certificates(connection)[node.id].serial == again.serial_number
    assert all(one.is_good(NOW) for one in known)


def test_a_pool_without_sites_is_enough_for_hubs(tmp_path: Path) -> None:
    """A network of hubs only, dual stack."""
    networks = Networks((ip_network("10.255.0.0/24"), ip_network("fd00:ff::/64")), (), (AsRange(64512, 64513),))
    read = certificate_of(make_registry(tmp_path / "r", networks=networks), HUBS)
    assert [claim.text for claim in read.resources[Source.SUBJECT].protocol_addresses] == [
        "GRE=10.255.0.1", "GRE=fd00:ff::1"]  # fmt: skip
    assert NETWORKS.sites
