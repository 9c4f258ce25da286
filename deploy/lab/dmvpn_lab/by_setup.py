"""A node's bundle and answers, for ``dmvpn-agent setup``, by which it gets its files."""

import json
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from dmvpn_lab.issued import Credentials
from dmvpn_lab.namespace import Namespace
from dmvpn_lab.scenario import Node, Scenario

#: dmvpn-ca writes the password into the file's name; setup finds it there.
PASSWORD = "lab-password"
BUNDLE, ANSWERS = f"/run/lab/node.{PASSWORD}.pfx", "/run/lab/answers.toml"
#: What the packages install, which is empty in the lab's folders.
PACKAGED = ("/etc/swanctl/conf.d", "/etc/swanctl/x509", "/etc/swanctl/x509ca", "/etc/frr")
DAEMONS = "bgpd=no\nnhrpd=no\n"


def bundle(credentials: Credentials) -> bytes:
    """Return the bundle that a CA gives a node."""
    key = load_pem_private_key(credentials.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(credentials.certificate)
    ca = x509.load_pem_x509_certificate(credentials.ca_certificate)
    return serialize_key_and_certificates(b"node", key, certificate, [ca], BestAvailableEncryption(PASSWORD.encode()))


def answers(node: Node, scenario: Scenario) -> str:
    """Return what only the operator knows: the networks, and the hubs' addresses."""
    others = [hub for hub in scenario.hubs if hub is not node]
    hubs = [f"{address}={hub.nbma_address}" for hub in others for address in hub.protocol_addresses]
    if scenario.authority == "dmvpn-ca" and node.role == "spoke":
        hubs = [str(hub.nbma_address) for hub in others]  # it names hosts only; nhrpd learns the protocol address
    found: Mapping[str, object] = {
        "uplink": str(node.nbma_address),
        "tunnel_networks": [str(one) for one in scenario.networks.tunnels],
        "networks": [str(one) for one in node.lans],
        "hubs": hubs,
        "tunnel": "agent",
        "strongswan": scenario.mode,
        **({"allowed_networks": [str(one) for one in scenario.networks.alloweds]} if node.role == "hub" else {}),
    }
    # JSON's strings and lists are TOML's too.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in found.items())


def files(space: Namespace) -> list[str]:
    """Return every file below /etc of a namespace, with its hash, mode and owner."""
    names = "\n".join(path for path in space.run("find", "/etc", "-type", "f").splitlines() if path)
    hashes = space.run("xargs", "-d", "\n", "sha256sum", text=names)
    return [
        *hashes.splitlines(),
        *space.run("xargs", "-d", "\n", "stat", "-c", "%n %a %U:%G", text=names).splitlines(),
    ]
