"""The files of a node: their paths, contents, modes and owners."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography import x509

from dmvpn_agent.renewal.est import EstError, read_key
from dmvpn_agent.renewal.key_pair import KeyPair
from dmvpn_agent.setup.agent_toml import agent_toml
from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.frr_text import merged
from dmvpn_agent.setup.node import Node
from dmvpn_agent.setup.paths import (
    AGENT_TOML,
    AGENT_TOML_WRITTEN,
    APPARMOR,
    AWALL,
    CERTIFICATE,
    CONNECTIONS,
    DMVPN_CA,
    EST_CA,
    FIREWALLD_POLICIES,
    FIREWALLD_ZONE,
    FRR_CONF,
    FRR_DAEMONS,
    INTERFACES,
    KEY,
    MODULES,
    NETDEV,
    NETWORK,
    OWN_ZONE,
    RENEW_UNITS,
    STRONGSWAN,
    SYSCTL,
    TUNNEL_INTERFACES,
    UNITS,
    authority_path,
    kept_copy,
)
from dmvpn_agent.setup.system import FirewallBy, System, TunnelBy, content_digest
from dmvpn_agent.setup.templates import frr_conf, node_values, render

#: Files that are merged with an operator's; every other one is setup's alone.
_MERGED = frozenset({AGENT_TOML, AGENT_TOML_WRITTEN, FRR_CONF, FRR_DAEMONS, INTERFACES, APPARMOR})


@dataclass(frozen=True, slots=True)
class FileStep:
    """A file as it must be. ``content`` is ``None`` if it must not exist. ``shown``: what is displayed of it, if not
    all; of a key, never more. ``notes``: what an operator should know of it.
    """

    path: str
    content: bytes | None = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    shown: str = ""
    notes: tuple[str, ...] = ()


def node_files(node: Node, bundle: Bundle, system: System) -> tuple[FileStep, ...]:
    """Return every file of a node, in the order in which they are written. Raises ``Refused``."""
    return (
        *_credentials(bundle, system),
        *_strongswan(node),
        *_frr(node, system),
        *_agent(node, system),
        *_network(node, system),
        *_firewall(node, system),
        *_units(node, system),
    )


def settled(step: FileStep, system: System) -> tuple[FileStep, ...]:
    """Return what becomes of a file of setup's own if an operator has changed it since.

    Their version stays as long as setup would write what it wrote before; otherwise a copy of it is kept.
    """
    found, former = system.files.get(step.path), system.digests.get(step.path)
    if step.path in _MERGED or step.shown or found is None or former is None:
        return (step,)
    if found.content == step.content or content_digest(found.content) == former:
        return (step,)
    if step.content is not None and content_digest(step.content) == former:
        return ()
    copy = kept_copy(step.path)
    return FileStep(copy, found.content, 0o600, shown=f"your version of {step.path}, which setup must change"), step


def _agent(node: Node, system: System) -> Iterator[FileStep]:
    """Yield ``agent.toml``, with the access that it has if the agent can read it, and what setup remembers of it."""
    wanted, found = agent_toml(node, system), system.files.get(AGENT_TOML)
    if found and (found.mode & 0o004 or (found.group == "dmvpn-agent" and found.mode & 0o040)):
        yield FileStep(AGENT_TOML, wanted.text.encode(), found.mode, found.owner, found.group, notes=wanted.notes)
    else:
        yield FileStep(AGENT_TOML, wanted.text.encode(), notes=wanted.notes)
    yield FileStep(AGENT_TOML_WRITTEN, wanted.written.encode(), 0o600, shown="what setup itself would have in it")


def _credentials(bundle: Bundle, system: System) -> Iterator[FileStep]:
    for number, authority in enumerate(bundle.authorities):
        yield FileStep(authority_path(number), authority, shown="the CA's certificate")
    if bundle.enrolled and bundle.enrolled.authorities:
        yield FileStep(EST_CA, bundle.enrolled.authorities, shown="the CA of the enrolment server")
    if _is_renewed(bundle, system):
        return
    yield FileStep(CERTIFICATE, bundle.certificate_pem, shown=f"the certificate of {bundle.certificate.subject}")
    yield FileStep(KEY, bundle.key, 0o600, shown="the key, which is not displayed")


def _is_renewed(bundle: Bundle, system: System) -> bool:
    """Tell whether the node has a later certificate of the bundle's subject, with its key."""
    certificate, key = system.files.get(CERTIFICATE), system.files.get(KEY)
    if certificate is None or key is None:
        return False
    try:
        pair = KeyPair(read_key(key.content), x509.load_pem_x509_certificate(certificate.content))
        given = x509.load_pem_x509_certificate(bundle.certificate_pem)
    except (EstError, ValueError):
        return False
    later = pair.certificate.not_valid_after_utc > given.not_valid_after_utc
    return pair.fits and later and pair.certificate.subject == given.subject


def _strongswan(node: Node) -> Iterator[FileStep]:
    mode = "bridged" if node.bridged else "native"
    yield FileStep(STRONGSWAN[node.bridged], render(f"swanctl/strongswan-{mode}.conf", node_values(node)).encode())
    yield FileStep(STRONGSWAN[not node.bridged], None)
    if node.dmvpn_ca:
        yield FileStep(DMVPN_CA, render("swanctl/strongswan-dmvpn-ca.conf", node_values(node)).encode())
    yield FileStep(CONNECTIONS, render("swanctl/dmvpn.conf", node_values(node)).encode())


def _frr(node: Node, system: System) -> Iterator[FileStep]:
    daemons, conf = system.files.get(FRR_DAEMONS), system.files.get(FRR_CONF)
    text = with_daemons(daemons.content.decode(errors="surrogateescape") if daemons else "")
    present = conf.content.decode(errors="surrogateescape") if conf else ""
    for path, found, wanted in (
        (FRR_DAEMONS, daemons, text),
        (FRR_CONF, conf, merged(frr_conf(node), present)),
    ):
        content = wanted.encode(errors="surrogateescape")
        yield (
            FileStep(path, content, found.mode, found.owner, found.group)
            if found
            else FileStep(path, content, 0o640, "frr", "frr")
        )


def with_daemons(text: str) -> str:
    """Return FRR's ``daemons`` file with bgpd and nhrpd switched on."""
    for daemon in ("bgpd", "nhrpd"):
        text, found = re.subn(rf"^{daemon}=.*$", f"{daemon}=yes", text, flags=re.MULTILINE)
        if not found:
            text = f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{daemon}=yes\n"
    return text


def _network(node: Node, system: System) -> Iterator[FileStep]:
    values = node_values(node)
    if node.tunnel_by is TunnelBy.IFUPDOWN:
        yield FileStep(TUNNEL_INTERFACES, render("network/gre1.interfaces", values).encode())
        found = system.files.get(INTERFACES)
        text = found.content if found else b""
        if not re.search(rb"^\s*source(-directory)?\s+\S*interfaces\.d\b", text, re.MULTILINE):
            begin = text if not text or text.endswith(b"\n") else text + b"\n"
            yield FileStep(INTERFACES, begin + f"source {TUNNEL_INTERFACES}\n".encode())
    elif node.tunnel_by is TunnelBy.NETWORKD:
        yield FileStep(NETDEV, render("network/gre1.netdev", values).encode())
        yield FileStep(NETWORK, render("network/gre1.network", values).encode())
    yield FileStep(SYSCTL, render("network/sysctl.conf", values).encode())
    yield FileStep(MODULES, render("network/modules.conf", values).encode())
    if node.bridged and system.has_apparmor:
        local = system.files.get(APPARMOR)
        line = render("apparmor.swanctl", values).encode()
        text = local.content if local else b""
        if line not in text:
            yield FileStep(APPARMOR, text + line)


def _firewall(node: Node, system: System) -> Iterator[FileStep]:
    """Yield what the firewall in charge needs; files of its own, beside the operator's."""
    uplink = next((name for name, one in system.addresses if one.ip == node.nbma_address), "")
    firewall = system.firewall
    # firewalld applies a policy of a zone only to interfaces that were put into it, not to those of the default zone.
    values = {
        **node_values(node),
        "uplink": uplink,
        "uplink_zone": firewall.zones.get(uplink, "ANY"),
        "tunnel_zone": firewall.tunnel_zone or OWN_ZONE,
    }
    if node.firewall is FirewallBy.FIREWALLD:
        if not firewall.tunnel_zone:
            yield FileStep(FIREWALLD_ZONE, render("firewall/zone.xml", values).encode())
        for name, path in FIREWALLD_POLICIES.items():
            wanted = name == "ike" or node.lan_networks
            yield FileStep(path, render(f"firewall/policy-{name}.xml", values).encode() if wanted else None)
    elif node.firewall is FirewallBy.AWALL:
        yield FileStep(AWALL, render("firewall/awall.json", values).encode())


def _units(node: Node, system: System) -> Iterator[FileStep]:
    """Yield the services. Those of a package are left alone: it has put them where it keeps them."""
    units = {} if system.has_packaged_units else UNITS[system.services.manager]
    if node.renewal_server:
        units = units | RENEW_UNITS[system.services.manager]
    for path, template in units.items():
        mode = 0o755 if path.startswith(("/etc/init.d/", "/etc/periodic/")) else 0o644
        yield FileStep(path, render(template, node_values(node)).encode(), mode)
