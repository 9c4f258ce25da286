"""Why a plan cannot be carried out on this machine."""

from collections.abc import Iterator

from dmvpn_agent.setup import paths as at
from dmvpn_agent.setup.bundle import MAX_BUNDLE_BYTES, NHRPD_LIMIT, Bundle
from dmvpn_agent.setup.node import Node
from dmvpn_agent.setup.plan import FRR_NEEDED, USER, frr_comparison
from dmvpn_agent.setup.refusal import Refusal
from dmvpn_agent.setup.system import Manager, System
from dmvpn_agent.x509.pem import PemError, der_blocks


def refusals(node: Node, bundle: Bundle, system: System, *, start: bool = True) -> tuple[Refusal, ...]:
    """Return why the plan cannot be carried out on this machine. ``start``: the services too."""
    of_machine = machine_refusals(system, start=start)
    return of_machine if not system.root else (*of_machine, *_of_frr(node, system), *_of_bundle(node, bundle, system))


def machine_refusals(system: System, *, start: bool = True) -> tuple[Refusal, ...]:
    """Return why no plan at all can be carried out here: what can be known before a token is used."""
    if not system.root:
        return (Refusal("this user", "not root", "root", "run setup again with sudo, or as root"),)
    return (*_of_programs(system), *(_of_services(system) if start else ()), *_of_place(system))


def _of_programs(system: System) -> Iterator[Refusal]:
    for daemon in FRR_NEEDED:
        if daemon not in system.frr_daemons:
            found = "FRR is without it" if system.frr_daemons else "FRR is not installed"
            yield Refusal(f"FRR's {daemon}", found, "an FRR with nhrpd and bgpd", "install one: apt install frr, or"
                          " apk add frr")  # fmt: skip
    if not system.has_nft:
        yield Refusal("nftables", "nft is not installed", "nft, by which the agent keeps its rules", "apt install"
                      " nftables, or apk add nftables")  # fmt: skip
    if not system.has_swanctl:
        yield Refusal("strongSwan's swanctl", "it is not installed", "swanctl", "apt install strongswan-swanctl"
                      " charon-systemd, or apk add strongswan")  # fmt: skip
    if system.has_vici is None:
        yield Refusal("strongSwan's charon", "it is not installed", "a charon with the plugin vici", "apt install"
                      " charon-systemd, or apk add strongswan")  # fmt: skip
    elif not system.has_vici:
        yield Refusal("strongSwan's plugin vici", "it is not installed", "a charon with it", "apt install"
                      " libstrongswan-standard-plugins charon-systemd, or build strongSwan with"
                      " --enable-vici")  # fmt: skip


def _of_services(system: System) -> Iterator[Refusal]:
    services = system.services
    named = (
        ("strongSwan", services.charon, system.has_vici, "charon-systemd"),
        ("FRR", services.frr, system.frr_daemons, "frr"),
    )
    for program, service, installed, package in named if services.manager is not Manager.NONE else ():
        if installed and not service:
            yield Refusal(f"{program}'s service", f"{services.manager} knows none", "one that setup can start",
                          f"apt install {package}; or start it yourself, and use --no-start")  # fmt: skip


def _of_frr(node: Node, system: System) -> Iterator[Refusal]:
    conf = system.files.get(at.FRR_CONF)
    apart = [path for path in at.FRR_APART if path in system.files]
    if conf is None and apart:
        yield Refusal("FRR's configuration", f"each daemon has a file of its own: {', '.join(apart)}", at.FRR_CONF,
                      "`vtysh -c 'write integrated'`, then run setup again")  # fmt: skip
    for there, wanted in frr_comparison(node, system).conflicts:
        yield Refusal("FRR's configuration", " / ".join(there), wanted[-1],
                      "change that line in FRR, or the answers")  # fmt: skip


def _of_place(system: System) -> Iterator[Refusal]:
    for path, why in system.unwritable.items():
        yield Refusal(path, why, "a place that can be written", "remount it, or make room, then run setup again")
    if not system.program_reachable:
        yield Refusal(f"the program {system.program}", f"the user {USER} may not enter a folder above it", "a program"
                      " that the services can start", "install it in /opt or /usr/local, not in a home")  # fmt: skip


def _of_bundle(node: Node, bundle: Bundle, system: System) -> Iterator[Refusal]:
    other = system.files.get(at.authority_path(0))
    if other and system.files.get(at.KEY) and _der(other.content) not in map(_der, bundle.authorities):
        yield Refusal(
            at.authority_path(0),
            "this node has a key and certificate of another CA",
            "the CA of the bundle",
            "`dmvpn-agent setup --undo`, or move that file and the node's certificate away, then run setup again",
        )
    if not node.bridged and len(bundle.certificate.der) >= NHRPD_LIMIT:
        size = len(bundle.certificate.der)
        yield Refusal("the certificate", f"{size} bytes long", f"less than {NHRPD_LIMIT}: without the bridge, nhrpd"
                      " keeps no longer one", "ask the CA for one with fewer resources")  # fmt: skip


def _der(pem: bytes) -> list[bytes]:
    try:
        return der_blocks(pem, "CERTIFICATE", MAX_BUNDLE_BYTES)
    except PemError:
        return []
