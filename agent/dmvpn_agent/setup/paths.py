"""The paths of the files that a node has."""

from dmvpn_agent.setup.system import Manager

#: The certificate's file in /etc/swanctl/x509, and the key's in /etc/swanctl/private.
CERTIFICATE_FILE = "node.pem"
AGENT_TOML = "/etc/dmvpn-agent/agent.toml"
#: Where setup keeps its journal; only root can enter it.
OWN_FOLDER = "/var/lib/dmvpn-agent-setup"
#: What setup itself would have written last, to know later what an operator has changed.
AGENT_TOML_WRITTEN = f"{OWN_FOLDER}/agent.toml"
CONNECTIONS = "/etc/swanctl/conf.d/dmvpn.conf"
STRONGSWAN = {True: "/etc/strongswan.d/dmvpn-bridged.conf", False: "/etc/strongswan.d/dmvpn-native.conf"}
DMVPN_CA = "/etc/strongswan.d/dmvpn-ca.conf"
FRR_CONF, FRR_DAEMONS = "/etc/frr/frr.conf", "/etc/frr/daemons"
#: FRR's former way, a file for each daemon.
FRR_APART = ("/etc/frr/zebra.conf", "/etc/frr/bgpd.conf", "/etc/frr/nhrpd.conf")
CERTIFICATE = f"/etc/swanctl/x509/{CERTIFICATE_FILE}"
KEY = f"/etc/swanctl/private/{CERTIFICATE_FILE}"
CRLS = "/etc/dmvpn-agent/crl"
#: The CAs of the EST server's TLS certificate, if they are others than the DMVPN's.
EST_CA = "/etc/dmvpn-agent/est-ca.pem"
INTERFACES, TUNNEL_INTERFACES = "/etc/network/interfaces", "/etc/network/interfaces.d/gre1"
NETDEV, NETWORK = "/etc/systemd/network/50-gre1.netdev", "/etc/systemd/network/50-gre1.network"
#: firewalld's zone of the tunnel, unless the operator has put it into another one.
OWN_ZONE = "dmvpn-agent"
FIREWALLD_ZONE = f"/etc/firewalld/zones/{OWN_ZONE}.xml"
#: firewalld's policies: what comes from the uplink to this node, from the tunnel, and into it.
FIREWALLD_POLICIES = {name: f"/etc/firewalld/policies/dmvpn-agent-{name}.xml" for name in ("ike", "in", "out")}
AWALL = "/etc/awall/dmvpn-agent.json"
#: What awall makes of its policies.
AWALL_RULES = tuple(f"/etc/iptables/{name}" for name in ("rules-save", "rules6-save", "awall-save"))
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
#: What renews the certificate.
RENEW_TIMER = "dmvpn-renew.timer"
RENEW_UNITS = {
    Manager.SYSTEMD: {
        "/etc/systemd/system/dmvpn-renew.service": "systemd/dmvpn-renew.service",
        f"/etc/systemd/system/{RENEW_TIMER}": f"systemd/{RENEW_TIMER}",
    },
    Manager.OPENRC: {"/etc/periodic/15min/dmvpn-renew": "openrc/dmvpn-renew.periodic"},
    Manager.NONE: {},
}


def kept_copy(path: str) -> str:
    """Return where setup keeps an operator's version of a file of its own that it has to change."""
    return f"{OWN_FOLDER}/{path[1:].replace('/', '_')}"


def authority_path(number: int) -> str:
    """Return the path of the bundle's CA of this number, from 0: charon reads one certificate from a file."""
    return f"/etc/swanctl/x509ca/ca{f'-{number + 1}' if number else ''}.pem"


#: All files that a node may have.
ALL_PATHS = (
    *(
        AGENT_TOML,
        AGENT_TOML_WRITTEN,
        CONNECTIONS,
        *STRONGSWAN.values(),
        DMVPN_CA,
        FRR_CONF,
        FRR_DAEMONS,
        *FRR_APART,
        CERTIFICATE,
        KEY,
    ),
    *(authority_path(number) for number in range(8)),
    *(INTERFACES, TUNNEL_INTERFACES, NETDEV, NETWORK, SYSCTL, MODULES, APPARMOR, APPARMOR_PROFILE),
    *(path for paths in (*UNITS.values(), *RENEW_UNITS.values()) for path in paths),
    EST_CA,
    *(FIREWALLD_ZONE, *FIREWALLD_POLICIES.values(), AWALL),
)
