"""The files of a node: their paths, contents, modes and owners."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.frr_text import merged
from dmvpn_agent.setup.node import Node
from dmvpn_agent.setup.system import Manager, System, TunnelBy
from dmvpn_agent.setup.templates import CERTIFICATE_FILE, frr_conf, node_values, render

AGENT_TOML = "/etc/dmvpn-agent/agent.toml"
CONNECTIONS = "/etc/swanctl/conf.d/dmvpn.conf"
STRONGSWAN = {True: "/etc/strongswan.d/dmvpn-bridged.conf", False: "/etc/strongswan.d/dmvpn-native.conf"}
DMVPN_CA = "/etc/strongswan.d/dmvpn-ca.conf"
FRR_CONF, FRR_DAEMONS = "/etc/frr/frr.conf", "/etc/frr/daemons"
#: FRR's former way, a file for each daemon.
FRR_APART = ("/etc/frr/zebra.conf", "/etc/frr/bgpd.conf", "/etc/frr/nhrpd.conf")
CERTIFICATE = f"/etc/swanctl/x509/{CERTIFICATE_FILE}"
KEY = f"/etc/swanctl/private/{CERTIFICATE_FILE}"
CRLS = "/etc/dmvpn-agent/crl"
INTERFACES, TUNNEL_INTERFACES = "/etc/network/interfaces", "/etc/network/interfaces.d/gre1"
NETDEV, NETWORK = "/etc/systemd/network/50-gre1.netdev", "/etc/systemd/network/50-gre1.network"
SYSCTL, MODULES = "/etc/sysctl.d/dmvpn.conf", "/etc/modules-load.d/dmvpn.conf"
APPARMOR, APPARMOR_PROFILE = "/etc/apparmor.d/local/usr.sbin.swanctl", "/etc/apparmor.d/usr.sbin.swanctl"
UNITS = {
    Manager.SYSTEMD: {
        "/etc/systemd/system/dmvpn-agent.service": "systemd/dmvpn-agent.service",
        "/etc/systemd/system/dmvpn-bridge.service": "systemd/dmvpn-bridge.service",
    },
    Manager.OPENRC: {
        "/etc/init.d/dmvpn-agent": "openrc/dmvpn-agent.initd",
        "/etc/init.d/dmvpn-bridge": "openrc/dmvpn-bridge.initd",
        "/etc/conf.d/dmvpn-agent": "openrc/dmvpn-agent.confd",
        "/etc/conf.d/dmvpn-bridge": "openrc/dmvpn-bridge.confd",
    },
    Manager.NONE: {},
}


def authority_path(number: int) -> str:
    """Return the path of the bundle's CA of this number, from 0: charon reads one certificate from a file."""
    return f"/etc/swanctl/x509ca/ca{f'-{number + 1}' if number else ''}.pem"


#: All files that a node may have.
ALL_PATHS = (
    *(AGENT_TOML, CONNECTIONS, *STRONGSWAN.values(), DMVPN_CA, FRR_CONF, FRR_DAEMONS, *FRR_APART, CERTIFICATE, KEY),
    *(authority_path(number) for number in range(8)),
    *(INTERFACES, TUNNEL_INTERFACES, NETDEV, NETWORK, SYSCTL, MODULES, APPARMOR, APPARMOR_PROFILE),
    *(path for paths in UNITS.values() for path in paths),
)


@dataclass(frozen=True, slots=True)
class FileStep:
    """A file as it must be. ``content`` is ``None`` if it must not exist. ``shown``: what is displayed of it, if not
    all; of a key, never more.
    """

    path: str
    content: bytes | None = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    shown: str = ""


def node_files(node: Node, bundle: Bundle, system: System) -> tuple[FileStep, ...]:
    """Return every file of a node, in the order in which they are written."""
    return (
        *_credentials(bundle),
        *_strongswan(node),
        *_frr(node, system),
        FileStep(AGENT_TOML, render("agent.toml", node_values(node)).encode()),
        *_network(node, system),
        *_units(node, system),
    )


def _credentials(bundle: Bundle) -> Iterator[FileStep]:
    for number, authority in enumerate(bundle.authorities):
        yield FileStep(authority_path(number), authority, shown="the CA's certificate")
    yield FileStep(CERTIFICATE, bundle.certificate_pem, shown=f"the certificate of {bundle.certificate.subject}")
    yield FileStep(KEY, bundle.key, 0o600, shown="the key, which is not displayed")


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


def _units(node: Node, system: System) -> Iterator[FileStep]:
    """Yield the services. Those of a package are left alone: it has put them where it keeps them."""
    if system.has_packaged_units:
        return
    for path, template in UNITS[system.services.manager].items():
        mode = 0o755 if path.startswith("/etc/init.d/") else 0o644
        yield FileStep(path, render(template, node_values(node)).encode(), mode)
