"""Reads the database and the configuration of dmvpn-ca (github.com/alpinelinux/dmvpn-tools).

Its tables: ``site(code, asn, name, active)``, ``subnet(site, family, address)``, ``vpnc(site, id, name, active)``,
``greAddress(site, vpnc, family, address)``, ``certificate(serial, site, vpnc, …, revoked, privateKey, data)`` and
``crl(serial, …)``. The hubs are the site with the empty code, whose subnets are all networks; the CA's
certificate has the serial number 0, and a CRL signer's has no site.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from dmvpn_agent.addresses import Address, Network, contains, overlap
from dmvpn_agent.ca.errors import CaError

_MAX_ROWS = 1_000_000
#: The shortest IPv6 tunnel network that is looked for among networks with sites.
_IPV6_TUNNEL = 96


@dataclass(frozen=True, slots=True)
class OldNode:
    """A hub or VPNc. ``site`` is its site's code, empty for a hub."""

    site: str
    number: int
    common_name: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class OldSite:
    """A site. ``name`` is what its certificates have as OU."""

    code: str
    name: str
    as_number: int
    prefixes: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class OldCertificate:
    """A certificate, PEM. ``site`` is ``None`` for a CRL signer's."""

    serial: int
    site: str | None
    number: int | None
    pem: bytes
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class OldCa:
    """Everything that is needed from dmvpn-ca's database. ``networks``: the hubs' subnets; ``key``: the CA's, PEM."""

    sites: tuple[OldSite, ...]
    nodes: tuple[OldNode, ...]
    certificates: tuple[OldCertificate, ...]
    networks: tuple[Network, ...]
    hub_as: int
    ca_pem: bytes
    key: bytes
    crl_number: int


@dataclass(frozen=True, slots=True)
class OldConfiguration:
    """What is needed from ``dmvpn-ca.conf``; lifetimes in seconds, as there."""

    hub_hosts: tuple[str, ...] = ()
    crl_urls: tuple[str, ...] = ()
    node_seconds: int = 365 * 24 * 3600
    crl_seconds: int | None = None
    default_as: int = 65000
    default_names: dict[bool, str] = field(default_factory=lambda: {True: "Hub-$ID", False: "VPNc-$ID"})


def read_old_configuration(data: bytes) -> OldConfiguration:
    """Read ``dmvpn-ca.conf``. Raises ``CaError``."""
    try:
        import yaml  # noqa: PLC0415  needed only here
    except ModuleNotFoundError as error:
        raise CaError("PyYAML is not installed", "install it (Alpine: py3-yaml), or leave out --conf") from error
    try:
        raw = yaml.safe_load(data) or {}
        hub, crl = raw.get("hub") or {}, raw.get("crl") or {}
        lifetime = (raw.get("cert") or {}).get("lifetime", 365 * 24 * 3600)
        spoke = raw.get("spoke") or {}
        return OldConfiguration(
            hub_hosts=tuple(str(one) for one in hub.get("hosts") or ()),
            crl_urls=(str(crl["dist-point"]),) if crl.get("dist-point") else (),
            node_seconds=int(spoke.get("lifetime", lifetime)),
            crl_seconds=int(crl["lifetime"]) if crl.get("lifetime") else None,
            default_as=int(raw.get("default-asn", 65000)),
            default_names={True: str(hub.get("default-name", "Hub-$ID")),
                           False: str(spoke.get("default-name", "VPNc-$ID"))},
        )  # fmt: skip
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CaError(f"the configuration of dmvpn-ca cannot be read: {error}", "nothing was imported") from error


def read_old_database(path: Path, configuration: OldConfiguration) -> OldCa:
    """Read dmvpn-ca's database; it is not changed. Raises ``CaError``."""
    try:
        if not path.exists():
            raise CaError(f"{path} is missing", "dmvpn-ca's database is /var/lib/misc/dmvpn-ca.sqlite3 by default")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return _read(db, configuration)
    except (sqlite3.Error, OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise CaError(
            f"{path} is not a database of dmvpn-ca, or is damaged: {error}", "nothing was imported"
        ) from error


def _read(db: sqlite3.Connection, configuration: OldConfiguration) -> OldCa:
    subnets: dict[str, list[Network]] = defaultdict(list)
    for row in _rows(db, "SELECT site, address FROM subnet"):
        subnets[row["site"]].append(ip_network(row["address"], strict=False))
    addresses: dict[tuple[str, int], list[Address]] = defaultdict(list)
    for row in _rows(db, "SELECT site, vpnc, address FROM greAddress ORDER BY family"):
        addresses[row["site"], row["vpnc"]].append(ip_address(row["address"]))
    certificates = list(_rows(db, "SELECT * FROM certificate ORDER BY serial"))
    if not certificates or certificates[0]["serial"] != 0:
        raise CaError("the database has no CA: no certificate has the serial number 0", "nothing was imported")
    sites = {row["code"]: row for row in _rows(db, "SELECT * FROM site WHERE active = '1' ORDER BY rowid")}
    nodes = _rows(db, "SELECT * FROM vpnc WHERE active = '1' ORDER BY site, id")
    return OldCa(
        sites=tuple(
            OldSite(code, row["name"] or code, int(row["asn"]), tuple(subnets[code]))
            for code, row in sites.items() if code
        ),
        nodes=tuple(_node(row, addresses, configuration) for row in nodes if row["site"] in sites),
        certificates=tuple(map(_certificate, certificates[1:])),
        networks=tuple(subnets[""]),
        hub_as=int(sites[""]["asn"]),
        ca_pem=certificates[0]["data"].encode(),
        key=certificates[0]["privateKey"].encode(),
        crl_number=next((row[0] or 0 for row in _rows(db, "SELECT max(serial) FROM crl")), 0),
    )  # fmt: skip


def _rows(db: sqlite3.Connection, query: str) -> Iterator[Any]:
    for count, row in enumerate(db.execute(query)):
        if count >= _MAX_ROWS:
            raise ValueError(f"more than {_MAX_ROWS} rows")
        yield row


def _node(row: Any, addresses: dict[tuple[str, int], list[Address]], configuration: OldConfiguration) -> OldNode:
    default = configuration.default_names[not row["site"]].replace("$ID", str(row["id"]))
    return OldNode(row["site"], int(row["id"]), row["name"] or default, tuple(addresses[row["site"], row["id"]]))


def _certificate(row: Any) -> OldCertificate:
    revoked = None if row["revoked"] is None else datetime.fromtimestamp(int(row["revoked"]), UTC)
    return OldCertificate(int(row["serial"]), row["site"], row["vpnc"], row["data"].encode(), revoked)


def tunnel_networks(old: OldCa) -> tuple[Network, ...]:
    """Return the networks of the protocol addresses, which dmvpn-ca does not tell from those of sites.

    A network of the hubs with protocol addresses and without sites' subnets is one. Otherwise it is the smallest one
    that has all protocol addresses of its version, for IPv6 a /96 or larger.
    """
    subnets = [prefix for site in old.sites for prefix in site.prefixes]
    found: list[Network] = []
    left = [address for node in old.nodes for address in node.addresses]
    for network in old.networks:
        if any(one in network for one in left) and not any(overlap(network, subnet) for subnet in subnets):
            found.append(network)
    left = [one for one in left if not contains(tuple(found), one)]
    for version in (4, 6):
        if mine := [one for one in left if one.version == version]:
            found.append(_around(min(map(int, mine)), max(map(int, mine)), version))
    return tuple(found)


def _around(first: int, last: int, version: int) -> Network:
    width, shortest = (32, 30) if version == 4 else (128, _IPV6_TUNNEL)
    length = min(width - (first ^ last).bit_length(), shortest)
    network = ip_network((first >> (width - length) << (width - length), length))
    top = int(network.network_address) | (1 << (width - length)) - 1
    if version == 4 and length and (first == int(network.network_address) or last == top):
        return network.supernet()  # the first and the last address are reserved
    return network
