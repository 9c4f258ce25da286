"""What a node gets is what ``setup`` reads."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from ca_registry import NETWORKS, NOW, make_registry, signer_of
from dmvpn_agent.ca.answers_text import answers_text
from dmvpn_agent.ca.bundle import Bundle, new_password
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import issue
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import find_node, read_settings
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.setup.answers import read_answers
from dmvpn_agent.setup.bundle import WrongPassphrase, read_bundle
from dmvpn_agent.x509.certificate import Role
from dmvpn_agent.x509.private_key import new_key


@pytest.mark.parametrize("place", list(ResourcesIn))
@pytest.mark.parametrize("site", ["FIN", HUBS])
@pytest.mark.parametrize("pem", [False, True])
def test_setup_reads_the_bundle(tmp_path: Path, place: ResourcesIn, site: str, pem: bool) -> None:
    """Key, chain and resources, in every form."""
    settings = Settings(resources_in=place, hub_hosts=("hub.example.com", "192.0.2.1"))
    database = make_registry(tmp_path / "r", settings, with_issuing=True)
    with database.writing() as connection:
        add_site(connection, NewSite("FIN", (ip_network("10.1.0.0/16"), ip_network("fd00:0:1::/48"))), None)
        node, signer, key = find_node(connection, add_node(connection, site)), signer_of(connection), new_key()
        certificate = issue(connection, signer, node, key.public_key(), NOW)
    bundle, password = Bundle(node.name, certificate, key, signer.authority.chain), new_password()
    read = read_bundle(bundle.pem() if pem else bundle.pfx(password), None if pem else password, NOW)
    assert read.role is (Role.HUB if node.is_hub else Role.SPOKE)
    assert read.protocol_addresses == node.addresses
    assert read.as_numbers == (node.as_number,)
    assert read.prefixes == node.prefixes
    assert read.hub_hosts == settings.hub_hosts
    assert len(read.authorities) == 2
    if not pem:
        with pytest.raises(WrongPassphrase):
            read_bundle(bundle.pfx(password), new_password(), NOW)


@pytest.mark.parametrize("site", ["FIN", HUBS])
@pytest.mark.parametrize("common", [None, 65000])
def test_setup_reads_the_answers(tmp_path: Path, site: str, common: int | None) -> None:
    """The networks, which a certificate may not name; and the hubs for a spoke."""
    database = make_registry(tmp_path / "r", Settings(as_number=common, hub_hosts=("hub.example.com",)))
    with database.writing() as connection:
        add_site(connection, NewSite("FIN"), common)
        node = find_node(connection, add_node(connection, site))
        answers = read_answers(answers_text(node, NETWORKS, read_settings(connection)).encode())
    assert answers.tunnel_networks == NETWORKS.tunnels
    assert answers.allowed_networks == (NETWORKS.sites if node.is_hub else None)
    assert answers.ibgp is (True if common else None)
    assert [hub.nbma for hub in answers.hubs or ()] == ([] if node.is_hub else ["hub.example.com"])


@pytest.mark.parametrize("wrong", [{"hub_hosts": ("a b",)}, {"hub_hosts": ('"',)}, {"hub_hosts": ("hüb.example",)},
                                   {"crl_urls": ("crl.example/x.crl",)}, {"crl_urls": ("http://ü",)}])  # fmt: skip
def test_hosts_and_urls_are_checked(tmp_path: Path, wrong: dict[str, tuple[str, ...]]) -> None:
    """They stand in certificates and in files of other programs."""
    with pytest.raises(CaError, match=r"is no (host|URL)"):
        make_registry(tmp_path / "r", Settings(**wrong))  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists()
