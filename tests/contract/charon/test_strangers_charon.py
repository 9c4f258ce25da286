"""An unknown peer sends a real charon malformed certificates: the bridge goes on and serves the other peers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import certificates
from certificates import COMMON_NAME, SUBJECT_ALT_NAME, TRUE, attribute, extension, integer, name, sequence, tlv
from contract.bridge_process import BridgeProcess
from contract.charon_pair import Side, two_charons
from contract.charons import needs_charon
from dmvpn_agent.charon.commands import list_certificates
from dmvpn_agent.charon.session import CommandFailed
from fakes.nhrpd_vici import nhrpd_at
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]

_STRANGER = name(attribute(COMMON_NAME, "stranger"))
_CA = extension("2.5.29.19", sequence(TRUE), critical=True)


def _stranger(serial: int, *extensions: bytes) -> bytes:
    """Return a self-signed certificate."""
    return certificates.signed(certificates.der(_STRANGER, (_CA, *extensions), _STRANGER, integer(serial)))


#: A name in which the value of an attribute is an OBJECT IDENTIFIER: cryptography 42 to 46 raises KeyError.
_NO_STRING = tlv(0xA4, name(attribute(COMMON_NAME, b"\x2a\x03", 0x06)))

STRANGERS = {
    "serial number -5": _stranger(-5),
    "serial number -2**159": _stranger(-(2**159)),
    "serial number 0": _stranger(0),
    "serial number of 60 octets": _stranger(2**479 - 1),
    "a name that is not a string": _stranger(7, extension(SUBJECT_ALT_NAME, sequence(_NO_STRING))),
}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    async with two_charons(tmp_path) as sides:
        yield sides


async def _cached(node: Side) -> list[bytes]:
    async with node.session() as session:
        return await list_certificates(session)


async def test_no_certificate_of_an_unknown_peer_ends_the_bridge(pair: tuple[Side, Side], tmp_path: Path) -> None:
    """charon refuses the peer and keeps its certificates; the next peer is announced with its own certificate."""
    node, other = pair
    bridge = BridgeProcess(tmp_path)
    (tmp_path / "real.vici").symlink_to(node.path)
    key = certificates.key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    await other.ask("load-key", {"type": "any", "data": key})
    try:
        await bridge.start()
        for certificate in STRANGERS.values():
            await other.show(certificate, node)
            with pytest.raises(CommandFailed):
                await other.ask("initiate", {"child": "dmvpn", "timeout": "10000"})
        assert bridge.process is not None
        process = bridge.process
        kept = [case for case, certificate in STRANGERS.items() if certificate in await _cached(node)]
        assert "serial number -5" in kept
        async with nhrpd_at(bridge.listen) as nhrpd:
            await other.show(other.certificate, node)
            await other.ask("initiate", {"child": "dmvpn", "timeout": "10000"})
            await until(
                lambda: process.poll() is not None or other.certificate in {one for _, _, one in nhrpd.received}
            )
            assert process.poll() is None, bridge.log.read_text()
            assert not nhrpd.closed
    finally:
        bridge.kill()
