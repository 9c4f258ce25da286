"""The files of a node, as ``dmvpn-agent setup`` writes them from the node's bundle and an operator's answers."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Interface
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dmvpn_agent.ca.bundle import Bundle
from dmvpn_agent.setup.answers import read_answers
from dmvpn_agent.setup.bundle import read_bundle
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.files import FileStep, node_files
from dmvpn_agent.setup.paths import AGENT_TOML, CONNECTIONS, FRR_CONF, FRR_DAEMONS
from dmvpn_agent.setup.system import File, System
from dmvpn_lab import CHECKOUT, by_setup
from dmvpn_lab.issued import Credentials
from dmvpn_lab.scenario import Node, Scenario, Second

# The NBMA addresses of swanctl/several-profiles.conf.
_FIRST, _SECOND = "203.0.113.1", "198.51.100.1"
_INTERFACES = 'interfaces = { gre1 = "dmvpn" }'


class NotSetUp(Exception):
    """setup cannot make a node of this scenario. The text says why."""


def answers(node: Node, scenario: Scenario) -> str:
    """Return what only the operator knows (TOML): the networks, and the hubs' addresses."""
    networks, second = scenario.networks, scenario.second_at(node.name)
    tunnels = (() if node.second else networks.tunnels) + ((second.network,) if second else ())
    found: dict[str, object] = {
        "uplink": str(node.nbma_address),
        "tunnel_networks": [str(one) for one in tunnels],
        "networks": [str(one) for one in node.lans],
        "hubs": _hubs(node, scenario),
        "tunnel": "agent" if node.managed or scenario.setup else "operator",
        "strongswan": scenario.mode,
    }
    if node.role == "hub" or scenario.authority == "dmvpn-ca":
        found["allowed_networks"] = [str(one) for one in networks.alloweds]
    # JSON's strings and lists are TOML's too.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in found.items())


def _hubs(node: Node, scenario: Scenario) -> list[str]:
    others = [hub for hub in scenario.hubs if hub is not node]
    if node.second and scenario.second:
        return [f"{scenario.second.protocol_address}={scenario.second.nbma_address}"]
    if scenario.setup and node.role == "spoke":
        return [str(hub.nbma_address) for hub in others]  # nhrpd learns the protocol address
    return [f"{address}={hub.nbma_address}" for hub in others for address in hub.protocol_addresses]


def node_steps(node: Node, scenario: Scenario, credentials: Credentials) -> tuple[FileStep, ...]:
    """Return all files of a node. Raises ``NotSetUp``, and ``Refused`` for a bundle that setup refuses."""
    bundle = read_bundle(credentials.bundle, None, datetime.now(UTC))
    system = System(
        addresses=(("eth0", IPv4Interface(node.nbma_address)),),
        files={path: File(b"", 0o640, "root", "frrvty") for path in (FRR_CONF, FRR_DAEMONS)},
        has_packaged_units=True,
    )
    choice = choose(bundle, system, read_answers(answers(node, scenario).encode()))
    if choice.node is None:
        raise NotSetUp("; ".join(map(str, (*choice.refusals, *choice.questions))))
    return tuple(_completed(step, node, scenario) for step in node_files(choice.node, bundle, system))


def write_files(node: Node, scenario: Scenario, credentials: Credentials, folder: Path) -> None:
    """Write all files of a node below a folder, with their modes and owners."""
    if scenario.setup:
        steps = _before_setup(node, scenario, credentials)
        for name in by_setup.PACKAGED:
            (folder / name.removeprefix("/")).mkdir(parents=True)
    else:
        steps = node_steps(node, scenario, credentials)
    for step in steps:
        if step.content is not None:
            file = folder / step.path.removeprefix("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(step.content)
            shutil.chown(file, step.owner, step.group)
            file.chmod(step.mode)


def _before_setup(node: Node, scenario: Scenario, credentials: Credentials) -> tuple[FileStep, ...]:
    """Return the files of a node on which setup is still to be run."""
    return (
        FileStep(by_setup.BUNDLE, _pfx(credentials), 0o600),
        FileStep(by_setup.ANSWERS, answers(node, scenario).encode()),
        FileStep(FRR_DAEMONS, by_setup.DAEMONS, 0o640, "root", "frrvty"),
    )


def _pfx(credentials: Credentials) -> bytes:
    key = load_pem_private_key(credentials.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate, ca = map(x509.load_pem_x509_certificate, (credentials.certificate, credentials.ca_certificate))
    return Bundle("node", certificate, key, (ca,)).pfx(by_setup.PASSWORD)


def _completed(step: FileStep, node: Node, scenario: Scenario) -> FileStep:
    """Return a file with what setup does not write: a second tunnel, and uplinks to choose from."""
    second = scenario.second_at(node.name)
    has_two = second is not None and not node.second
    if step.content is None:
        return step
    text = step.content.decode()
    if step.path == AGENT_TOML:
        text += "".join(_uplink(node, scenario))
        text = _replaced(text, _INTERFACES, _INTERFACES[:-2] + ', gre2 = "dmvpn2" }') if has_two else text
    elif step.path == FRR_CONF and has_two:
        text += _second_interface()
    elif step.path == CONNECTIONS and second is not None and has_two:
        text = _two_connections(node, second)
    return replace(step, content=text.encode())


def _uplink(node: Node, scenario: Scenario) -> Iterator[str]:
    """Yield the tables [[uplink.link]] of a node that has them: with two, each probes the first hub."""
    if not node.uplink:
        return
    targets = f'targets = ["{scenario.hubs[0].nbma_address}"]\n' if node.backup else ""
    yield f'\n[[uplink.link]]\nname = "eth0"\n{targets}'
    if node.backup:
        yield f'\n[[uplink.link]]\nname = "eth1"\ngateway = "{scenario.routers[node.backup].inside.ip}"\n{targets}'


def _second_interface() -> str:
    """Return the interface of the file that users append; setup has written the rest of it."""
    found = re.search(r"^interface gre2\n.*?^exit\n", text_of("frr/second-tunnel.conf"), re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("frr/second-tunnel.conf has no interface gre2 any more")
    return found[0]


def _two_connections(node: Node, second: Second) -> str:
    text = text_of("swanctl/several-profiles.conf")
    text = text.replace(f"{_FIRST}\n", f"{node.nbma_address}\n").replace(f"{_FIRST}/", f"{node.nbma_address}/")
    return text.replace(_SECOND, str(second.nbma_address))


def text_of(file: str) -> str:
    """Return the text of a file of the checkout."""
    return (CHECKOUT / file).read_text()


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise ValueError(f"the file of setup has no {old} any more")
    return text.replace(old, new)
