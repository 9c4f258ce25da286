"""Certificates of dmvpn-ca in a real charon: what swanctl/strongswan-dmvpn-ca.conf is for."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contract.charons import RealCharon, needs_charon
from dmvpn_agent.charon.session import CommandFailed
from dmvpn_agent.charon.vici import Section
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_lab.dmvpn_ca import DmvpnCa
from dmvpn_lab.issued import Credentials

pytestmark = [pytest.mark.contract, needs_charon()]

FILE = Path(__file__).parents[3] / "swanctl/strongswan-dmvpn-ca.conf"


@asynccontextmanager
async def charon(folder: Path, settings: str) -> AsyncIterator[RealCharon]:
    made = RealCharon(folder, settings=settings)
    try:
        made.make_space()
        await made.start()
        yield made
    finally:
        made.stop()


def of_file() -> str:
    """Return what the file has in its section ``charon``."""
    found = re.search(r"charon \{\n(.*)\n\}", FILE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def concentrator() -> Credentials:
    return DmvpnCa().certify("FIN", [ip_address("172.18.1.1")], [ip_network("10.1.0.0/16")])


def load(pem: bytes, flag: str = "NONE") -> Section:
    return {"type": "X509", "flag": flag, "data": pem}


async def test_charon_takes_them_with_the_file(tmp_path: Path) -> None:
    """The CA too, with its serial number 0."""
    given = concentrator()
    async with charon(tmp_path, of_file()) as made:
        await made.ask("load-cert", load(given.ca_certificate, "CA"))
        await made.ask("load-cert", load(given.certificate))


async def test_charon_takes_none_without_it(tmp_path: Path) -> None:
    """They have critical extensions that it does not know."""
    async with charon(tmp_path, "") as made:
        with pytest.raises(CommandFailed, match="parsing X509 certificate failed"):
            await made.ask("load-cert", load(concentrator().certificate))


def test_the_agent_knows_what_charon_is_told_to_pass_over() -> None:
    """It denies a certificate with any other unknown critical extension, as RFC 5280, section 4.2 asks."""
    loaded = x509.load_pem_x509_certificate(concentrator().certificate)
    critical = [
        one for one in loaded.extensions if one.critical and isinstance(one.value, x509.UnrecognizedExtension)
    ]
    assert len(critical) == 3
    assert isinstance(read_certificate(loaded.public_bytes(Encoding.DER)), Certificate)
