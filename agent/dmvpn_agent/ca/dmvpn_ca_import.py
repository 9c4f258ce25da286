"""A registry made from dmvpn-ca's database: the same CA, sites, nodes and certificates, which all stay valid."""

from dataclasses import dataclass
from ipaddress import ip_network

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from sqlalchemy import Connection, insert, select, update

from dmvpn_agent.addresses import Network, overlap
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.authorities import AuthorityName, store_authority
from dmvpn_agent.ca.creation import lay_out
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.dmvpn_ca import OldCa, OldCertificate, OldConfiguration, OldSite, tunnel_networks
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.keys import encrypted
from dmvpn_agent.ca.node import HUBS, checked_name
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.ca.sites import NewNode, NewSite, add_node, add_site
from dmvpn_agent.x509.private_key import PrivateKey

_DAY, _HOUR = 24 * 3600, 3600


@dataclass(frozen=True, slots=True)
class ImportedCa:
    """What was imported: the names of nodes, how many certificates, and which networks are the tunnel's."""

    nodes: tuple[str, ...]
    certificates: int
    networks: Networks


def import_dmvpn_ca(
    database: Database, old: OldCa, configuration: OldConfiguration, tunnels: tuple[Network, ...],
    old_password: bytes | None, passphrase: bytes,
) -> ImportedCa:  # fmt: skip
    """Make a registry. ``tunnels``: the tunnel networks, if they are not to be derived. Raises ``CaError``."""
    certificate, key = _loaded(old.ca_pem, 0), _key(old, old_password)
    if key.public_key() != certificate.public_key():
        raise CaError("the CA's key and certificate in dmvpn-ca's database do not match", "nothing was imported")
    settings = Settings(
        organization=certificate.subject.rfc4514_string(),
        resources_in=ResourcesIn.EXTENSIONS,
        as_number=configuration.default_as,
        hub_hosts=configuration.hub_hosts,
        crl_urls=configuration.crl_urls,
        node_days=max(1, configuration.node_seconds // _DAY),
        crl_hours=max(1, (configuration.crl_seconds or _DAY) // _HOUR),
    )
    networks = _networks(old, tunnels or tunnel_networks(old))
    with database.creating() as connection:
        lay_out(connection, settings, networks, old.hub_as)
        store_authority(connection, AuthorityName.ROOT, certificate, encrypted(key, passphrase))
        connection.execute(update(schema.authority).values(crl_number=old.crl_number))
        names = _add_all(connection, old, settings.as_number)
        for one in old.certificates:
            _add_certificate(connection, one, names)
        record(connection, "import", f"dmvpn-ca: {len(names)} nodes, {len(old.certificates)} certificates")
    return ImportedCa(tuple(names.values()), len(old.certificates), networks)


def _loaded(pem: bytes, serial: int) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CaError(f"the certificate with the serial number {serial} cannot be read: {error}",
                      "nothing was imported") from error  # fmt: skip


def _key(old: OldCa, password: bytes | None) -> PrivateKey:
    try:
        key = load_pem_private_key(old.key, password)
    except TypeError as error:
        wanted = "is encrypted (db.encrypt-keys)" if password is None else "is not encrypted"
        raise CaError(f"the CA's key {wanted}", "give its password by --old-password-file, if it has one") from error
    except ValueError as error:
        raise CaError("the CA's key cannot be decrypted with this password", "nothing was imported") from error
    if not isinstance(key, PrivateKey):
        raise CaError(f"the CA's key is of a kind that cannot sign: {type(key).__name__}", "nothing was imported")
    return key


def _networks(old: OldCa, tunnels: tuple[Network, ...]) -> Networks:
    """Return the pools; what dmvpn-ca gave outside the hubs' subnets gets a pool of its own."""
    sites = [one for one in old.networks if one not in tunnels]
    for site in old.sites:
        for prefix in site.prefixes:
            if not any(overlap(prefix, pool) for pool in sites):
                sites.append(prefix)
    if not tunnels:
        raise CaError("no node has a GRE address", "name the tunnel network: --tunnel NETWORK")
    return Networks(tunnels, tuple(ip_network(one) for one in sites), ())


def _add_all(connection: Connection, old: OldCa, common: int | None) -> dict[tuple[str, int], str]:
    """Add sites and nodes; return the nodes' names by site and number."""
    codes = {"": HUBS}
    for site in old.sites:
        codes[site.code] = _name(site)
        add_site(connection, NewSite(codes[site.code], site.prefixes, (), site.as_number), common)
    names = {}
    for node in old.nodes:
        if not node.addresses:
            raise CaError(f"{codes[node.site]} {node.number} has no GRE address",
                          "add one by `dmvpn-ca gre-addr add`, or retire it; nothing was imported")  # fmt: skip
        new = NewNode(node.addresses, None, node.number, node.common_name)
        names[node.site, node.number] = add_node(connection, codes[node.site], new)
    return names


def _name(site: OldSite) -> str:
    """Return the name in the site's certificates, or its code if that name is not allowed here."""
    try:
        return checked_name(site.name)
    except CaError:
        return checked_name(site.code)


def _add_certificate(connection: Connection, old: OldCertificate, names: dict[tuple[str, int], str]) -> None:
    certificate = _loaded(old.pem, old.serial)
    node_id = None
    if old.site is not None and old.number is not None and (name := names.get((old.site, old.number))):
        node_id = connection.execute(select(schema.node.c.id).where(schema.node.c.name == name)).scalar_one()
    row: dict[str, object] = {
        "authority_id": connection.execute(select(schema.authority.c.id)).scalar_one(),
        "serial": f"{old.serial:x}",
        "node_id": node_id,
        "subject": certificate.subject.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "der": certificate.public_bytes(Encoding.DER),
        "revoked_at": old.revoked_at,
        "reason": None if old.revoked_at is None else "unspecified",
    }
    connection.execute(insert(schema.certificate), row)
