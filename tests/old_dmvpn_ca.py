"""A database as dmvpn-ca writes it: its statements, and the certificates of the network in its README."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from dmvpn_lab.dmvpn_ca import DmvpnCa

CONFIGURATION = b"""
hub:
  hosts:
  - hubs.example.com
  subnets:
  - '10.0.0.0/8'
  - '172.18.0.0/16'
  - 'fd00::/32'
crl:
  dist-point: 'http://crl.example.com/dmvpn-ca.crl'
  lifetime: 7200
  renewal: 1200
"""

_TABLES = """
CREATE TABLE site (code VARCHAR(16) NOT NULL PRIMARY KEY, asn INTEGER NOT NULL, name VARCHAR(32),
    active CHAR(1) DEFAULT '1');
CREATE TABLE subnet (site VARCHAR(16) NOT NULL REFERENCES site(code), family INTEGER NOT NULL,
    address CHAR(14) NOT NULL, PRIMARY KEY(site, family, address));
CREATE TABLE vpnc (site VARCHAR(16) NOT NULL REFERENCES site(code), id INTEGER NOT NULL, name VARCHAR(32),
    active CHAR(1) DEFAULT '1', PRIMARY KEY(site, id));
CREATE TABLE greAddress (site VARCHAR(16) NOT NULL, vpnc INTEGER NOT NULL, family INTEGER NOT NULL,
    address CHAR(14) NOT NULL, PRIMARY KEY(site, vpnc, family),
    FOREIGN KEY(site, vpnc) REFERENCES vpnc(site, id), UNIQUE(family, address));
CREATE TABLE certificate (serial INTEGER NOT NULL PRIMARY KEY, site VARCHAR(16), vpnc INTEGER,
    dn VARCHAR(128) NOT NULL, issued DATETIME NOT NULL, expires DATETIME NOT NULL, revoked DATETIME,
    privateKey TEXT NOT NULL, data TEXT NOT NULL, FOREIGN KEY(site, vpnc) REFERENCES vpnc(site, id));
CREATE TABLE crl (serial INTEGER NOT NULL PRIMARY KEY, expires DATETIME NOT NULL, data TEXT NOT NULL);
"""
#: Site, VPNc, addresses; two hubs, two sites, the second concentrator of FIN with a name of its own.
_NODES = (
    ("", 1, None, ("172.18.0.1", "fd00::1")),
    ("", 2, None, ("172.18.0.2", "fd00::2")),
    ("FIN", 1, None, ("172.18.1.1", "fd00::1:1")),
    ("FIN", 2, "backup", ("172.18.1.2", "fd00::1:2")),
    ("SWE", 1, None, ("172.18.2.1", "fd00::2:1")),
)
_SUBNETS = {"": ("10.0.0.0/8", "172.18.0.0/16", "fd00::/32"), "FIN": ("10.1.0.0/16", "fd00:0:1::/48"),
            "SWE": ("10.2.0.0/16", "fd00:0:2::/48")}  # fmt: skip


def make_database(path: Path, password: bytes | None = None) -> DmvpnCa:
    """Write the database, with FIN's first certificate revoked; ``password`` encrypts the CA's key."""
    ca = DmvpnCa()
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    pem = ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
    now = int(datetime.now(UTC).timestamp())
    with closing(sqlite3.connect(path)) as db:
        db.executescript(_TABLES)
        for code, asn in (("", 65000), ("FIN", 65000), ("SWE", 65001), ("OLD", 65000)):
            db.execute("INSERT INTO site VALUES (?, ?, NULL, ?)", (code, asn, "0" if code == "OLD" else "1"))
            for subnet in _SUBNETS.get(code, ()):
                db.execute("INSERT INTO subnet VALUES (?, ?, ?)", (code, 2 if ":" in subnet else 1, subnet))
        _certificate(db, 0, None, None, ca.root, pem, None, now)
        for serial, (site, number, name, addresses) in enumerate(_NODES, 1):
            db.execute("INSERT INTO vpnc VALUES (?, ?, ?, '1')", (site, number, name))
            for family, address in enumerate(addresses, 1):
                db.execute("INSERT INTO greAddress VALUES (?, ?, ?, ?)", (site, number, family, address))
            subnets = [ip_network(one) for one in _SUBNETS[site]]
            as_number = 65001 if site == "SWE" else 65000
            made = ca.certify(site, [ip_address(one) for one in addresses], subnets, as_number)
            assert x509.load_pem_x509_certificate(made.certificate).serial_number == serial
            revoked = now if (site, number) == ("FIN", 1) else None
            _certificate(db, serial, site, number, made.certificate, made.key.decode(), revoked, now)
        db.execute("INSERT INTO crl VALUES (41, ?, 'x')", (now,))
        db.commit()
    return ca


def _certificate(
    db: sqlite3.Connection, serial: int, site: str | None, number: int | None, pem: bytes, key: str,
    revoked: int | None, now: int,
) -> None:  # fmt: skip
    row = (serial, site, number, "dn", now, now + 30 * 86400, revoked, key, pem.decode())
    db.execute("INSERT INTO certificate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
