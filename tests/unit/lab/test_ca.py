"""The certificates and CRLs that the nodes of a scenario get from ``dmvpn-agent ca``."""

import tomllib
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from configuration import config_from
from dmvpn_agent.addresses import Address
from dmvpn_agent.ca import keys
from dmvpn_agent.policy.decision import Accept, Decision
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.x509.authorities import read_authorities
from dmvpn_agent.x509.certificate import Certificate, Role
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import read_crls
from dmvpn_agent.x509.trust_store import TrustStore
from dmvpn_lab.actions import ACTIONS
from dmvpn_lab.ca import issue_all
from dmvpn_lab.expectations import EXPECTATIONS
from dmvpn_lab.files import CHECKOUT, configuration
from dmvpn_lab.issued import Credentials, Issued
from dmvpn_lab.scenario import Node, Scenario, load

FILES = sorted((CHECKOUT / "deploy/lab/scenarios").glob("*.toml"))


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_ROUNDS", 1000)


def scenario_of(name: str) -> Scenario:
    return load(CHECKOUT / f"deploy/lab/scenarios/{name}.toml", ACTIONS, EXPECTATIONS)


def issued(name: str, folder: Path) -> Issued:
    issue_all(scenario_of(name), folder / "ca")
    return Issued(folder / "ca")


def read(credentials: Credentials) -> Certificate:
    loaded = x509.load_pem_x509_certificate(credentials.certificate)
    found = read_certificate(loaded.public_bytes(Encoding.DER))
    assert isinstance(found, Certificate)
    return found


def decided(by: Node, scenario: Scenario, peer: Credentials, address: Address, role: str) -> Decision:
    """Return what a node decides by the configuration that the lab gives it, with its CA's certificate."""
    policy = config_from(tomllib.loads(configuration(by, scenario).agent)).policy
    trust = TrustStore(read_authorities(peer.ca_certificate)).trust(requires_chain=True)
    kind = BindingType.NHS if role == "hub" and by.role == "spoke" else BindingType.DYNAMIC
    asked = BindingRequest("gre1", kind, address, ip_address("192.0.2.1"), read(peer))
    return Judge(policy, trust).decide(asked, datetime.now(UTC))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_node_accepts_every_other_by_what_its_certificate_names(file: Path, tmp_path: Path) -> None:
    """With the addresses that it names, and no other."""
    scenario = scenario_of(file.stem)
    given = issued(file.stem, tmp_path)
    for peer in scenario.nodes.values():
        credentials = given.credentials(peer.name)
        for by in scenario.nodes.values():
            if by is peer or by.second or peer.second:
                continue
            address = peer.certified_addresses[0]
            assert isinstance(decided(by, scenario, credentials, address, peer.role), Accept), (by.name, peer.name)
            assert not isinstance(decided(by, scenario, credentials, address + 100, peer.role), Accept)


def test_credentials_belong_together(tmp_path: Path) -> None:
    """The key is the certificate's, and the CA signed it."""
    given = issued("policy", tmp_path).credentials("spoke1")
    certificate = x509.load_pem_x509_certificate(given.certificate)
    key = load_pem_private_key(given.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(given.ca_certificate))


def test_an_impostor_has_a_true_certificate_for_another_address(tmp_path: Path) -> None:
    """The CA is honest: the node is not."""
    scenario = scenario_of("policy")
    given, node = issued("policy", tmp_path).credentials("impostor"), scenario.nodes["impostor"]
    assert not isinstance(decided(scenario.hubs[0], scenario, given, node.protocol_address, "spoke"), Accept)


def test_a_hold_and_its_end(tmp_path: Path) -> None:
    """The scenario's actions get a CRL each, in their order; the number rises, and the CA signed it."""
    given = issued("policy", tmp_path)
    spoke2 = given.credentials("spoke2")
    ca = x509.load_pem_x509_certificate(spoke2.ca_certificate).public_key()
    assert isinstance(ca, ec.EllipticCurvePublicKey)
    crls = [given.crl() for _ in range(3)]
    assert all(x509.load_der_x509_crl(crl).is_signature_valid(ca) for crl in crls)
    found = [one for crl in crls for one in read_crls(crl)]
    serial = x509.load_pem_x509_certificate(spoke2.certificate).serial_number
    assert [set(one.serials) for one in found] == [set(), {serial}, set()]
    numbers = [one.number or 0 for one in found]
    assert numbers == sorted(set(numbers))
    (entry,) = x509.load_der_x509_crl(crls[1])
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.certificate_hold


def test_a_renewed_certificate_lacks_a_prefix(tmp_path: Path) -> None:
    """It is of the same name otherwise."""
    given = issued("renewed", tmp_path)
    first, second = (read(given.credentials("spoke1")).subject for _ in range(2))
    assert first.replace("OU=NET=192.168.66.0/24", "").replace(", ,", ",") == second


def test_a_certificate_that_nhrpd_cannot_hold(tmp_path: Path) -> None:
    """``ca`` refuses to sign it; the lab signs it with the same CA's key."""
    given = issued("renewed", tmp_path)
    large, other = given.credentials("spoke2"), given.credentials("hub")
    assert len(x509.load_pem_x509_certificate(large.certificate).public_bytes(Encoding.DER)) > 3000
    assert large.ca_certificate == other.ca_certificate


def test_a_network_of_dmvpn_ca_goes_on_with_our_crls(tmp_path: Path) -> None:
    """Its CA, with the serial number 0, is in the registry."""
    given = issued("dmvpn-ca", tmp_path)
    hub = read(given.credentials("hub1"))
    assert {claim.value for source in hub.resources.values() for claim in source.roles} == {Role.HUB}
    ca = x509.load_pem_x509_certificate(given.credentials("fin1").ca_certificate)
    assert ca.serial_number == 0
    assert x509.load_der_x509_crl(given.crl()).issuer == ca.subject
