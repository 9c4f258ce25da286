"""Certificates and CRLs made by OpenSSL and strongSwan's pki read as those programs print them."""

import re
import subprocess
from ipaddress import ip_address, ip_network, summarize_address_range
from pathlib import Path

import pytest

from chains import chains_to, signed_by
from contract.namespaces import needs
from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.x509.authorities import read_authorities
from dmvpn_agent.x509.certificate import Certificate, Inheritable, Resources, Source
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import read_crls

pytestmark = [pytest.mark.contract, needs("openssl", "pki")]

CONFIG = """\
[req]
prompt = no
string_mask = {mask}
distinguished_name = name
x509_extensions = extensions
[name]
C = DE
O = {organization}
0.OU = GRE=10.255.0.2
1.OU = AS=64512
CN = spoke1
[extensions]
{extensions}
"""
EXTENSIONS = """\
sbgp-ipAddrBlock = {critical}@addresses
sbgp-autonomousSysNum = {critical}@numbers
subjectAltName = IP:10.255.0.2, IP:2001:db8::2, DNS:x
[addresses]
{addresses}
[numbers]
{numbers}
"""


def _run(*command: str | Path, cwd: Path, data: bytes | None = None) -> bytes:
    done = subprocess.run(command, cwd=cwd, input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _openssl(
    directory: Path, extensions: str = "", organization: str = "lab", mask: str = "utf8only", name: str = "x"
) -> bytes:
    """Return a self-signed certificate (DER); its key is left in the directory."""
    text = CONFIG.format(mask=mask, organization=organization, extensions=extensions)
    (directory / f"{name}.conf").write_text(text, encoding="latin-1")
    key = directory / f"{name}.key"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-nodes", "-keyout", key)
    certificate = ("-x509", "-days", "30", "-outform", "DER")
    return _run("openssl", "req", *certificate, *new_key, "-config", f"{name}.conf", cwd=directory)


def _read(der: bytes) -> Certificate:
    certificate = read_certificate(der)
    assert isinstance(certificate, Certificate), certificate
    return certificate


def _networks(item: str) -> list[Network]:
    """The prefixes of ``10.0.0.0/8``, or of a range however it is written."""
    first, _, last = re.sub(r"\.\.", "-", item).partition("-")
    if not last:
        return [ip_network(item)]
    return list(summarize_address_range(ip_address(first), ip_address(last)))


def _as_openssl_shows(dump: str) -> Resources:
    """What ``openssl x509 -text`` says of the RFC 3779 extensions."""
    networks: list[Network] = []
    numbers: list[AsRange] = []
    inherits = set()
    part = ""
    for line in map(str.strip, dump.partition("sbgp-ipAddrBlock")[2].splitlines()):
        if heading := re.fullmatch(r"(IPv4|IPv6|Autonomous System Numbers)(?: \(Unicast\))?:( inherit)?", line):
            part = heading[1]
            if heading[2]:
                inherits.add({"IPv4": Inheritable.IPV4, "IPv6": Inheritable.IPV6}.get(part, Inheritable.AS_NUMBER))
        elif line == "inherit":
            inherits.add({"IPv4": Inheritable.IPV4, "IPv6": Inheritable.IPV6}.get(part, Inheritable.AS_NUMBER))
        elif part.startswith("IPv") and re.fullmatch(r"[0-9a-f.:]+(/\d+|-[0-9a-f.:]+)", line):
            networks += _networks(line)
        elif part.startswith("Auto") and (found := re.fullmatch(r"(\d+)(?:-(\d+))?", line)):
            numbers.append(AsRange(int(found[1]), int(found[2] or found[1])))
    return _resources(networks, numbers, inherits)


def _resources(networks: list[Network], numbers: list[AsRange], inherits: set[Inheritable]) -> Resources:
    """Values alone, as claims with nothing else: for comparing."""
    return Resources(as_numbers=tuple(numbers), prefixes=tuple(networks), inherits=frozenset(inherits))  # type: ignore[arg-type]


def _values(resources: Resources) -> Resources:
    networks = [claim.value for claim in resources.prefixes]
    numbers = [claim.value for claim in resources.as_numbers]
    assert None not in networks
    assert None not in numbers
    return _resources(networks, numbers, set(resources.inherits))  # type: ignore[arg-type]


def _alternative_addresses(dump: str) -> list[Address]:
    return [ip_address(text) for text in re.findall(r"IP Address:([0-9A-Fa-f.:]+)", dump)]


CASES = {
    "prefixes": ("IPv4.0 = 192.168.2.0/24\nIPv4.1 = 10.1.2.3/32\nIPv6.0 = 2001:db8::/33", "AS.0 = 64512"),
    "ranges": (
        "IPv4.0 = 192.168.1.0-192.168.3.255\nIPv4.1 = 10.0.0.1-10.0.0.9\nIPv6.0 = 2001:db8::1-2001:db8:1::",
        "AS.0 = 64512-64520\nAS.1 = 1\nAS.2 = 4200000000-4294967294",
    ),
    "inherit": ("IPv4 = inherit\nIPv6 = inherit", "AS = inherit"),
    "unicast, part inherited": ("IPv4-SAFI.0 = 1: 192.168.2.0/24\nIPv6 = inherit", "AS.0 = 64512"),
    "everything": ("IPv4.0 = 0.0.0.0/0\nIPv6.0 = ::/0", "AS.0 = 0-4294967295"),
}


@pytest.mark.parametrize("critical", ["", "critical,"], ids=["", "critical"])
@pytest.mark.parametrize("case", CASES)
def test_resources_are_those_that_openssl_prints(case: str, critical: str, tmp_path: Path) -> None:
    """Prefixes, ranges, inheritance, AS numbers and addresses come in the order of the text dump."""
    addresses, numbers = CASES[case]
    der = _openssl(tmp_path, EXTENSIONS.format(critical=critical, addresses=addresses, numbers=numbers))
    dump = _run("openssl", "x509", "-inform", "DER", "-noout", "-text", cwd=tmp_path, data=der).decode()
    expected = _as_openssl_shows(dump)
    assert expected.inherits or expected.prefixes
    certificate = _read(der)
    assert _values(certificate.resources[Source.RFC3779]) == expected
    found = certificate.resources[Source.SUBJECT_ALT_NAME].protocol_addresses
    assert [claim.value for claim in found] == _alternative_addresses(dump)
    assert [claim.value for claim in certificate.resources[Source.SUBJECT].as_numbers] == [AsRange(64512, 64512)]


def test_routing_domains_and_multicast_are_claims_without_value(tmp_path: Path) -> None:
    """OpenSSL can write them; the policy does not support them."""
    extensions = EXTENSIONS.format(critical="", addresses="IPv4-SAFI.0 = 2: 192.168.2.0/24", numbers="RDI.0 = 5")
    found = _read(_openssl(tmp_path, extensions)).resources[Source.RFC3779]
    assert [claim.value for claim in (*found.prefixes, *found.as_numbers)] == [None, None]


def _pki(directory: Path, *arguments: str | Path, data: bytes | None = None) -> bytes:
    return _run("pki", *arguments, cwd=directory, data=data)


def _authority(directory: Path) -> bytes:
    """Make a CA with pki; leaves ca.key and ca.crt (DER)."""
    (directory / "ca.key").write_bytes(_pki(directory, "--gen", "--type", "ecdsa", "--size", "384"))
    made = _pki(directory, "--self", "--ca", "--type", "ecdsa", "--in", "ca.key", "--dn", "C=DE, O=lab, CN=CA")
    (directory / "ca.crt").write_bytes(made)
    return made


def test_resources_are_those_that_strongswan_prints(tmp_path: Path) -> None:
    """pki neither sorts blocks nor clears spare bits in ranges, and they are read all the same."""
    authority = _authority(tmp_path)
    blocks = (
        "192.168.1.0-192.168.3.255",
        "10.1.0.0/16",
        "2001:db8::/32",
        "10.0.0.1-10.0.0.6",
        "2001:db9::1-2001:db9::ffff",
    )
    names = ("10.255.0.2", "2001:db8::2", "spoke1.example", "spoke1@dmvpn.example")
    der = _pki(
        tmp_path,
        *("--issue", "--type", "priv", "--in", "ca.key", "--cacert", "ca.crt", "--cakey", "ca.key"),
        *("--dn", "C=DE, O=lab, OU=GRE=10.255.0.2, CN=spoke1"),
        *(word for block in blocks for word in ("--addrblock", block)),
        *(word for name in names for word in ("--san", name)),
    )
    dump = _pki(tmp_path, "--print", data=der).decode()
    certificate = _read(der)
    shown = re.search(r"addresses: (.*)", dump)
    assert shown is not None
    expected = [network for item in shown[1].split(", ") for network in _networks(item)]
    assert _values(certificate.resources[Source.RFC3779]) == _resources(expected, [], set())
    alternatives = re.search(r"altNames:  (.*)", dump)
    subject = re.search(r'subject:  "(.*)"', dump)
    assert alternatives is not None
    assert subject is not None
    assert set(certificate.identities) == {*alternatives[1].split(", "), subject[1]} == {*names, subject[1]}
    assert certificate.issuer_name == _read(authority).subject_name
    assert chains_to(der, (), read_authorities(authority))


@pytest.mark.parametrize(("mask", "tag"), [("utf8only", 0x0C), ("nombstr", 0x14)], ids=["UTF8String", "T61String"])
def test_an_issuers_name_is_copied_octet_by_octet(mask: str, tag: int, tmp_path: Path) -> None:
    """Both programs do so for every string type."""
    authority = _openssl(tmp_path, "basicConstraints = critical,CA:TRUE", "Zürich", mask, "ca")
    (tmp_path / "ca.der").write_bytes(authority)
    _run("openssl", "x509", "-inform", "DER", "-in", "ca.der", "-out", "ca.pem", cwd=tmp_path)
    request = _run("openssl", "req", "-new", "-key", "ca.key", "-subj", "/CN=spoke1", cwd=tmp_path)
    sign = ("openssl", "x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "3", "-outform", "DER")
    issue = ("--issue", "--type", "priv", "--in", "ca.key", "--cacert", "ca.der", "--cakey", "ca.key", "--dn", "CN=x")
    for der in (_run(*sign, cwd=tmp_path, data=request), _pki(tmp_path, *issue)):
        assert bytes([tag]) + (b"\x07Z\xc3\xbcrich" if tag == 0x0C else b"\x06Z\xfcrich") in _read(der).issuer_name
        assert _read(der).issuer_name == _read(authority).subject_name
        assert chains_to(der, (), read_authorities(authority))


def test_crls_of_both_programs_are_read_and_verified(tmp_path: Path) -> None:
    """Serial numbers and signer are right."""
    authorities = read_authorities(_authority(tmp_path))
    sign = ("--signcrl", "--cacert", "ca.crt", "--cakey", "ca.key", "--serial", "0a0b", "--reason", "superseded")
    (ours,) = read_crls(_pki(tmp_path, *sign))
    assert ours.serials == {0x0A0B}
    assert signed_by(ours, authorities)

    (tmp_path / "index.txt").write_text("R\t400101000000Z\t260101000000Z\t0C0D\tunknown\t/CN=x\n")
    (tmp_path / "number").write_text("05\n")
    (tmp_path / "ca.conf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=3\n"
    )
    for source, form in (("ca.crt", "ca.pem"), ("ca.key", "key.pem")):
        tool = ("x509",) if source == "ca.crt" else ("ec",)
        _run("openssl", *tool, "-inform", "DER", "-in", source, "-out", form, cwd=tmp_path)
    make = ("openssl", "ca", "-gencrl", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "key.pem")
    (theirs,) = read_crls(_run(*make, cwd=tmp_path))
    assert theirs.serials == {0x0C0D}
    assert theirs.number == 5
    assert theirs.name == ours.name
    assert signed_by(theirs, authorities)
    assert not signed_by(theirs, read_authorities(_openssl(tmp_path, "basicConstraints = critical,CA:TRUE")))
