"""Two real charons with certificates of this CA, as ``setup`` would give them to hub and spoke."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca_registry import make_registry, signer_of
from contract import charons
from contract.charon_pair import Side
from contract.charons import CHARON, needs_charon
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.issuing import issue
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.charon.session import CommandFailed
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.private_key import new_key, plain_pem
from dmvpn_lab import strongswan

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]


@asynccontextmanager
async def hub_and_spoke(folder: Path, place: ResourcesIn, *, bounded: bool) -> AsyncIterator[tuple[Side, Side]]:
    """Start two charons, each with key, certificate and CAs of a new network."""
    now = utc_now()
    database = make_registry(folder / "registry", Settings(resources_in=place), now, with_issuing=True,
                             bounded=bounded)  # fmt: skip
    hub, spoke = sides = tuple(Side(folder, number, make_before_break=True) for number in (1, 2))
    try:
        hub.link(spoke)
        for side in sides:
            await side.start()
        with database.writing() as connection:
            add_site(connection, NewSite("FIN", (ip_network("10.1.0.0/16"),)), None)
            signer = signer_of(connection, now)
            for side, other, site in ((hub, spoke, HUBS), (spoke, hub, "FIN")):
                key = new_key()
                node = find_node(connection, add_node(connection, site))
                certificate = issue(connection, signer, node, key.public_key(), now)
                await _load(side, key, [chain_pem((one,)) for one in signer.authority.chain])
                await side.show(certificate.public_bytes(Encoding.DER), other)
        yield hub, spoke
    finally:
        for side in sides:
            side.stop()


async def _load(side: Side, key: ec.EllipticCurvePrivateKey, authorities: list[bytes]) -> None:
    async with side.session() as session:
        await session.request("load-key", {"type": "any", "data": plain_pem(key)})
        for authority in authorities:
            await session.request("load-cert", {"type": "X509", "flag": "CA", "data": authority})


@pytest.mark.parametrize("place", list(ResourcesIn))
@pytest.mark.parametrize("bounded", [False, True])
async def test_charon_connects_by_these_certificates(tmp_path: Path, place: ResourcesIn, bounded: bool) -> None:
    """Without any setting for certificates, also with limits in the CA's."""
    async with hub_and_spoke(tmp_path, place, bounded=bounded) as (hub, spoke):
        await spoke.ask("initiate", {"child": "dmvpn", "timeout": "20000"})
        (sa,) = await hub.sas()
        assert "CN=FIN-1" in sa.remote_id


@pytest.mark.skipif(strongswan.find_plugin(CHARON, "addrblock") is None, reason="this charon has no addrblock")
@pytest.mark.parametrize(
    ("bounded", "said"),
    [(False, "issuer certificate lacks ipAddrBlock"), (True, "not contained in any address block")],
)
async def test_charon_does_not_with_addrblock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded: bool, said: str
) -> None:
    """Which is why the files for strongSwan switch it off: it wants blocks in every CA, and addresses inside them."""
    monkeypatch.setattr(charons, "PLUGINS", f"{charons.PLUGINS} addrblock")
    async with hub_and_spoke(tmp_path, ResourcesIn.EXTENSIONS, bounded=bounded) as (hub, spoke):
        with pytest.raises(CommandFailed):
            await spoke.ask("initiate", {"child": "dmvpn", "timeout": "20000"})
        assert said in hub.log.read_text() + spoke.log.read_text()
