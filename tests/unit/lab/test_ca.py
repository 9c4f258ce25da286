"""The certificates and CRLs that the nodes of a scenario get from ``dmvpn-agent ca``."""

import tomllib
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from configuration import config_from
from dmvpn_agent.addresses import Address
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.setup.paths import AGENT_TOML
from dmvpn_agent.x509.authorities import read_authorities
from dmvpn_agent.x509.certificate import Certificate, Role
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import read_crls
from dmvpn_agent.x509.trust_store import TrustStore
from dmvpn_lab.issued import Credentials
from dmvpn_lab.scenario import Node
from scenarios import NAMES, Prepared, prepared


def loaded(given: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(given.certificate)


def read(given: Credentials) -> Certificate:
    found = read_certificate(loaded(given).public_bytes(Encoding.DER))
    assert isinstance(found, Certificate)
    return found


def is_accepted(given: Prepared, by: Node, peer: Node, address: Address) -> bool:
    """Decide by a node's own configuration, with its CA's certificate."""
    (first, *_) = given.credentials[peer.name]
    policy = config_from(tomllib.loads(given.files[by.name][AGENT_TOML])).policy
    trust = TrustStore(read_authorities(first.ca_certificate)).trust(requires_chain=True)
    kind = BindingType.NHS if peer.role == "hub" and by.role == "spoke" else BindingType.DYNAMIC
    asked = BindingRequest("gre1", kind, address, ip_address("192.0.2.1"), read(first))
    return isinstance(Judge(policy, trust).decide(asked, datetime.now(UTC)), Accept)


@pytest.mark.parametrize("name", NAMES)
def test_every_node_accepts_every_other_by_what_its_certificate_names(name: str) -> None:
    """With the addresses that it names, and no other."""
    given = prepared(name)
    nodes = [node for node in given.scenario.nodes.values() if not node.second]
    for by, peer in ((by, peer) for by in nodes for peer in nodes if by is not peer):
        address = peer.certified_addresses[0]
        assert is_accepted(given, by, peer, address), (by.name, peer.name)
        assert not is_accepted(given, by, peer, address + 100), (by.name, peer.name)


def test_credentials_belong_together() -> None:
    """The key is the certificate's, and the CA signed it."""
    (given,) = prepared("policy").credentials["spoke1"]
    key = load_pem_private_key(given.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == loaded(given).public_key()
    loaded(given).verify_directly_issued_by(x509.load_pem_x509_certificate(given.ca_certificate))


def test_an_impostor_has_a_true_certificate_for_another_address() -> None:
    """The CA is honest: the node is not."""
    given = prepared("policy")
    node = given.scenario.nodes["impostor"]
    assert not is_accepted(given, given.scenario.hubs[0], node, node.protocol_address)


def test_a_hold_and_its_end() -> None:
    """The scenario's actions get a CRL each, in their order; the number rises, and the CA signed it."""
    given = prepared("policy")
    (spoke2,) = given.credentials["spoke2"]
    ca = x509.load_pem_x509_certificate(spoke2.ca_certificate).public_key()
    assert isinstance(ca, ec.EllipticCurvePublicKey)
    assert all(x509.load_der_x509_crl(crl).is_signature_valid(ca) for crl in given.crls)
    found = [one for crl in given.crls for one in read_crls(crl)]
    assert [set(one.serials) for one in found] == [set(), {loaded(spoke2).serial_number}, set()]
    numbers = [one.number or 0 for one in found]
    assert numbers == sorted(set(numbers))
    (entry,) = x509.load_der_x509_crl(given.crls[1])
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.certificate_hold


def test_a_renewed_certificate_lacks_a_prefix() -> None:
    """Nothing else in its subject changes."""
    first, second = (read(one).subject for one in prepared("renewed").credentials["spoke1"])
    assert first.replace("OU=NET=192.168.66.0/24, ", "") == second != first


def test_a_certificate_that_nhrpd_cannot_hold() -> None:
    """``ca`` refuses to sign it; the lab signs it with the same CA's key."""
    given = prepared("renewed")
    (large,), (other,) = given.credentials["spoke2"], given.credentials["hub"]
    assert len(loaded(large).public_bytes(Encoding.DER)) > 3000
    assert large.ca_certificate == other.ca_certificate


def test_a_network_of_dmvpn_ca_goes_on_with_our_crls() -> None:
    """Its CA, with the serial number 0, is in the registry."""
    given = prepared("dmvpn-ca")
    (hub,), (fin1,) = given.credentials["hub1"], given.credentials["fin1"]
    assert {claim.value for source in read(hub).resources.values() for claim in source.roles} == {Role.HUB}
    ca = x509.load_pem_x509_certificate(fin1.ca_certificate)
    assert ca.serial_number == 0
    assert x509.load_der_x509_crl(given.crls[0]).issuer == ca.subject
