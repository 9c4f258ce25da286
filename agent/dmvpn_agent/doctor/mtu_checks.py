"""Checks of the tunnel's MTU: against what ESP and GRE leave of the uplink's, and against probes."""

from collections.abc import Iterable, Iterator, Mapping

from dmvpn_agent.doctor.check import Check, Level, result
from dmvpn_agent.doctor.node import Expected, LinkView, NodeView, PathProbe, SaView, Unknown
from dmvpn_agent.kernel.links.mtu import EspSizes, largest_inner, negotiated

#: An uplink whose MTU is unknown.
ETHERNET = 1500
#: Assumed while there is no SA: AES-GCM with an ICV of 16 bytes.
ASSUMED = EspSizes(8, 16, 4)


def mtu_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of each tunnel interface that exists."""
    if not isinstance(node.links, Unknown):
        for name, profile in expected.tunnels.items():
            if link := node.links.get(name):
                yield _mtu(name, link, node.links, [sa for sa in _sas(node) if sa.profile == profile])
    for probe in node.probes:
        yield _probe(probe)


def _sas(node: NodeView) -> tuple[SaView, ...]:
    return () if isinstance(node.charon, Unknown) else node.charon.sas


def _mtu(name: str, link: LinkView, links: Mapping[str, LinkView], sas: Iterable[SaView]) -> Check:
    uplink, mtu = _uplink(link, links)
    key = link.key is not None
    left, why = largest_inner(mtu, ASSUMED, udp=False, key=key), "AES_GCM_16 without NAT would leave (there is no SA)"
    sizes = [(sa, found) for sa in sas if (found := negotiated(sa.encryption, sa.integrity))]
    if sizes:
        left, worst = min(((largest_inner(mtu, size, udp=sa.udp_encapsulated, key=key), sa) for sa, size in sizes),
                          key=lambda pair: pair[0])  # fmt: skip
        algorithms = "/".join(filter(None, (worst.encryption, worst.integrity)))
        why = f"{algorithms} {'through' if worst.udp_encapsulated else 'without'} NAT to {worst.peer} leaves"
    return result(f"MTU of {name}", 0 < link.mtu <= left, link.mtu,
                  f"{left} or less: that is what {why} of {uplink}'s {mtu}",
                  f"ip link set {name} mtu {left}, or tunnel.{name}.mtu = {left}; 1400 leaves room for PPPoE and NAT",
                  Level.WARNING)  # fmt: skip


def _uplink(link: LinkView, links: Mapping[str, LinkView]) -> tuple[str, int]:
    """Return the uplink of a tunnel interface and its MTU."""
    for name, other in links.items():
        if link.local and any(one.split("/")[0] == link.local for one in other.addresses):
            return name, other.mtu
    device = links.get(link.device or "")
    if device and device.kind != "vrf":  # a VRF has an MTU of its own, which says nothing
        return str(link.device), device.mtu
    return "the uplink", ETHERNET


def _probe(probe: PathProbe) -> Check:
    """Check that packets of the tunnel's MTU reach a peer."""
    name = f"path to {probe.peer}"
    if probe.largest is None:
        return Check(name, Level.WARNING, "no answer to ping", "an answer, to probe the path MTU",
                     "allow ICMP echo between protocol addresses")  # fmt: skip
    found = f"packets of {probe.largest} bytes arrive"
    if probe.largest < probe.mtu:
        found += f", larger ones are lost {probe.where}"
    return result(name, probe.largest >= probe.mtu, found, f"packets of the interface's MTU, {probe.mtu}, arrive",
                  f"set the MTU of {probe.interface} to {probe.largest} on all nodes, or let ICMP «fragmentation"
                  " needed» pass on the way")  # fmt: skip
