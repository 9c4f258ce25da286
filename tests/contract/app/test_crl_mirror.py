"""A hub's agent serves the CRLs in force, and a spoke's agent fetches them there."""

import socket
from pathlib import Path

from contract.agent import CONFIG, Agent
from dmvpn_agent.x509.crl import read_crls
from fakes.waiting import until_now
from pki import Party

LAB = Party("Lab CA")


def agent_of(folder: Path, crl: str) -> Agent:
    folder.mkdir()
    (folder / "ca.crt").write_bytes(LAB.certify(LAB))
    policy = '[policy]\nca_certificates = ["{directory}/ca.crt"]\ncrls = ["{directory}/crl"]\n'
    (folder / "crl").mkdir()
    return Agent(folder, CONFIG.replace("[policy]\n", policy) + f"[crl]\n{crl}\n")


def revoked(agent: Agent) -> list[int]:
    return [crl["revoked"] for crl in agent.status()["trust"]["crls"]]


def test_a_spoke_has_the_crl_of_its_hub(tmp_path: Path) -> None:
    """Also the next one, and after a restart of the spoke while the hub is away."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    hub = agent_of(tmp_path / "hub", f'listen = "{address}"')
    spoke = agent_of(tmp_path / "spoke", f'mirrors = ["http://{address}/crl.pem"]\ninterval_seconds = 1')
    published = tmp_path / "hub" / "crl" / "lab.crl"
    published.write_bytes(LAB.revoke_der(7))
    try:
        hub.start()
        spoke.start()
        spoke.wait_for("trust_changed")
        assert revoked(spoke) == [1]
        published.write_bytes(LAB.revoke_der(7, 8, number=2))
        until_now(lambda: revoked(spoke) == [2])
        (fetch,) = spoke.status()["trust"]["fetches"]
        assert (fetch["url"], fetch["trouble"]) == (f"http://{address}/crl.pem", "")
        for agent in (hub, spoke):
            agent.kill()
        spoke.start()
        spoke.wait_for("agent_ready", 2)
        assert revoked(spoke) == [2]
        (kept,) = (tmp_path / "spoke" / "crls").glob("*.crl")
        assert set(read_crls(kept.read_bytes())[0].serials) == {7, 8}
    finally:
        for agent in (hub, spoke):
            agent.kill()
