"""The CA of a scenario: ``dmvpn-agent ca``, with a registry of its own.

It works before the lab starts, and issues in advance what the steps will need: its libraries take long to load in an
emulated VM.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning
from sqlalchemy import Connection

from dmvpn_agent.addresses import AsRange, Network
from dmvpn_agent.ca.allocation import pools
from dmvpn_agent.ca.authorities import Signer, issuing_authority, unlock
from dmvpn_agent.ca.bundle import Bundle
from dmvpn_agent.ca.creation import NewRegistry, create_registry
from dmvpn_agent.ca.crls import lifetime_of, make_crl
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.dmvpn_ca_import import import_dmvpn_ca
from dmvpn_agent.ca.issuing import issue, store_certificate
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.node import Node as RegisteredNode
from dmvpn_agent.ca.profile import Networks, node_certificate
from dmvpn_agent.ca.reading import find_node, has_site, read_settings
from dmvpn_agent.ca.revocation import Reason, release, revoke
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.ca.sites import NewNode, NewSite, add_node, add_site, remove_prefix
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.private_key import new_key
from dmvpn_lab import dmvpn_ca
from dmvpn_lab.issued import Issued
from dmvpn_lab.scenario import Node, Scenario

REGISTRY = "registry.sqlite"
PASSPHRASE = b"the lab's CA"
_AS_NUMBERS = AsRange(64512, 65534)
_NETSCAPE_COMMENT = x509.ObjectIdentifier("2.16.840.1.113730.1.13")
_IA5_STRING = b"\x16"


def issue_all(scenario: Scenario, folder: Path) -> None:
    """Make a registry in a new folder, and issue all that the nodes and the steps of a scenario need."""
    folder.mkdir(mode=0o700)
    ca = Ca(scenario, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # dmvpn-ca's root has the serial number 0
        ca.create()
        for action in (action for step in scenario.steps for action in step.do):
            if prepare := getattr(action, "prepare", None):
                prepare(ca)


class Ca:
    """Issues certificates and CRLs into a folder."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self._scenario = scenario
        self._issued = Issued(folder)
        self._database = Database(str(folder / REGISTRY))
        # What the registry calls the nodes.
        self._names: dict[str, str] = {}

    def create(self) -> None:
        """Make the registry with all nodes, their certificates, and a CRL. Raises ``CaError``."""
        if self._scenario.authority == "dmvpn-ca":
            self._import()
        else:
            self._create()
        with self._database.writing() as connection:
            self._publish(connection)

    def hold(self, name: str) -> None:
        """Put a node's certificate on hold, and make a CRL."""
        with self._database.writing() as connection:
            node = find_node(connection, self._names[name])
            revoke(connection, node.id, node.name, Reason.HOLD, utc_now())
            self._publish(connection)

    def release(self, name: str) -> None:
        """Take the hold back, and make a CRL."""
        with self._database.writing() as connection:
            node = find_node(connection, self._names[name])
            release(connection, node.id, node.name, utc_now())
            self._publish(connection)

    def renew(self, name: str, prefixes: Sequence[Network]) -> None:
        """Leave a node's site only these prefixes, and issue another certificate."""
        with self._database.writing() as connection:
            node = find_node(connection, self._names[name])
            for prefix in set(node.prefixes) - set(prefixes):
                remove_prefix(connection, node.site, prefix)
            self._issue(connection, self._scenario.nodes[name])

    def _create(self) -> None:
        scenario = self._scenario
        numbers = Counter({node.site_name: node.as_number for node in scenario.spokes}.values())
        # A CA gives an AS number to one site only, or one to all that have none of their own.
        common = next((number for number, count in numbers.items() if count > 1), None)
        new = NewRegistry(
            settings=Settings(organization="O=DMVPN lab", as_number=common),
            networks=Networks(scenario.all_tunnels, scenario.networks.alloweds, (_AS_NUMBERS,)),
            hub_as=scenario.hubs[0].as_number,
        )
        create_registry(self._database, new, PASSPHRASE, utc_now())
        with self._database.writing() as connection:
            for node in scenario.nodes.values():
                self._names[node.name] = self._add(connection, node, common)
                self._issue(connection, node)

    def _add(self, connection: Connection, node: Node, common: int | None) -> str:
        own, site = None, node.site_name
        if node.role == "hub":
            site, first = HUBS, self._scenario.hubs[0]
            own = node.as_number if node.as_number != first.as_number else None
        elif not has_site(connection, site):
            add_site(connection, NewSite(site, node.certified_prefixes, (), node.as_number), common)
        return add_node(connection, site, NewNode(node.certified_addresses, own, common_name=node.name))

    def _issue(self, connection: Connection, node: Node) -> None:
        signer = _signer(connection)
        registered, key = find_node(connection, self._names[node.name]), new_key()
        if node.comment:
            certificate = _commented(connection, signer, registered, key.public_key(), node.comment)
        else:
            certificate = issue(connection, signer, registered, key.public_key(), utc_now())
        bundle = Bundle(registered.name, certificate, key, signer.authority.chain)
        self._issued.put_credentials(node.name, bundle.pem())

    def _import(self) -> None:
        """Make the registry from dmvpn-ca's, which has issued all certificates."""
        old = dmvpn_ca.network(self._scenario)
        import_dmvpn_ca(
            self._database, old.ca, dmvpn_ca.CONFIGURATION, self._scenario.networks.tunnels, None, PASSPHRASE
        )
        self._names = dict(old.names)
        for name, credentials in old.credentials.items():
            self._issued.put_credentials(name, credentials.bundle)

    def _publish(self, connection: Connection) -> None:
        signer = _signer(connection)
        lifetime = lifetime_of(signer.authority, read_settings(connection))
        self._issued.put_crl(make_crl(connection, signer, lifetime, utc_now()).der)


def _signer(connection: Connection) -> Signer:
    return unlock(issuing_authority(connection), PASSPHRASE, utc_now())


def _commented(
    connection: Connection, signer: Signer, node: RegisteredNode, public_key: CertificatePublicKeyTypes, length: int
) -> x509.Certificate:
    """Sign a certificate that ``ca`` refuses to sign, because nhrpd cannot keep it: a comment makes it too large."""
    networks, settings = Networks.of_pools(pools(connection)), read_settings(connection)
    draft = node_certificate(node, public_key, signer.authority.certificate, settings, networks, utc_now())
    value = _IA5_STRING + b"\x82" + length.to_bytes(2, "big") + b"-" * length
    comment = x509.UnrecognizedExtension(_NETSCAPE_COMMENT, value)
    certificate = signer.sign(draft.add_extension(comment, critical=False))
    store_certificate(connection, signer.authority, certificate, node.id)
    return certificate
