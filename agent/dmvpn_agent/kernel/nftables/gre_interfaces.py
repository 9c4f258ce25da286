"""Which GRE interface of this node a packet belongs to, as conditions of nftables rules.

For a received packet that is what the kernel does (``ip_tunnel_lookup`` in net/ipv4/ip_tunnel.c): of the interfaces
that are bound to the device by which the packet came, the first one in the order of ``GreInterface.precision`` whose
key and addresses fit; if there is none, the first one of all in that order, whatever device it is bound to. For a
packet to be sent the kernel shows no interface, only what the packet has.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel.events import GreKeys, LinkEvent

#: A packet without a key, and one with key 0, are the same to an interface without addresses.
NO_KEY = frozenset({None, 0})
#: Names that mean themselves in nft's input; an interface may have nearly any.
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")


@dataclass(frozen=True, slots=True)
class GreInterface:
    """A GRE interface that is up; a packet may have anything where a field is empty.

    ``keys``: of the packets that it receives and that it sends. ``device``: the interface that it is bound to;
    ``sends_by``: the interfaces at which the kernel shows what it sends then, more than one with a VRF.
    ``is_tunnel``: it is one of the DMVPN's.
    """

    keys: GreKeys
    remote: Address | None = None
    local: Address | None = None
    device: str = ""
    sends_by: frozenset[str] = frozenset()
    is_tunnel: bool = False

    @property
    def precision(self) -> int:
        """Return its place in the kernel's order: both addresses, the remote one, the local one, or none."""
        return {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}[
            self.remote is not None, self.local is not None
        ]

    def has_key(self, key: int | None, *, sent: bool) -> bool:
        """Tell whether packets with this key can be its."""
        own = self.keys[sent]
        return own == key or (not sent and self.precision == 3 and {own, key} <= NO_KEY)

    def _addresses(self, remote: str, local: str) -> str:
        parts = [f"ip {remote} {self.remote}"] if self.remote else []
        parts += [f"ip {local} {self.local}"] if self.local else []
        return " ".join(parts)

    def received(self, *, by_its_device: bool) -> str:
        """Return what the packets have that it receives; ``by_its_device``: by the interface it is bound to."""
        parts = (self._addresses("saddr", "daddr"), f'iifname "{self.device}"' if by_its_device else "")
        return " ".join(filter(None, parts))

    def sent(self, tunnels: Iterable["GreInterface"]) -> str:
        """Return what the packets have that it sends, and these tunnels do not; empty if nothing tells them apart.

        Packets to its own remote address count as its own.
        """
        parts = [self._addresses("daddr", "saddr")]
        if self.sends_by:
            names = ", ".join(f'"{name}"' for name in sorted(self.sends_by))
            parts.append(f"oifname {{ {names} }}")
        if self.remote is None:
            for tunnel in tunnels:
                if self._is_apart(tunnel):
                    continue
                if self.local or not tunnel.local or not self.sends_by:
                    return ""
                parts.append(f"ip saddr != {tunnel.local}")
        return " ".join(filter(None, parts))

    def _is_apart(self, tunnel: "GreInterface") -> bool:
        """Tell whether no packet can be sent by both of them, for all that the kernel shows."""
        addresses = self.local and tunnel.local and self.local != tunnel.local
        devices = self.sends_by and tunnel.sends_by and not self.sends_by & tunnel.sends_by
        return bool(addresses or devices)


def gre_interfaces(tunnels: Collection[str], links: Mapping[str, LinkEvent]) -> tuple[GreInterface, ...]:
    """Return the node's GRE interfaces that are up; none if it is unknown what one of the tunnels is bound to."""
    names = {link.index: name for name, link in links.items() if _PLAIN.fullmatch(name)}
    gre = {name: link for name, link in sorted(links.items()) if link.kind == "gre" and link.up}
    unknown = {name for name, link in gre.items() if link.underlay and link.underlay not in names}
    if unknown.intersection(tunnels):
        return ()
    return tuple(
        GreInterface(
            link.keys,
            link.remote,
            link.local,
            names.get(link.underlay, ""),
            frozenset(_sends_by(link.underlay, links.values(), names)),
            name in tunnels,
        )
        for name, link in gre.items()
        if name not in unknown
    )


def _sends_by(index: int, links: Iterable[LinkEvent], names: Mapping[int, str]) -> Iterator[str]:
    """Yield an interface, the VRF that it is in, and what is in it if it is a VRF itself."""
    if index not in names:
        return
    yield names[index]
    for link in links:
        if link.index == index and link.master in names:
            yield names[link.master]
        if link.master == index and link.index in names:
            yield link.name


def receivers(interfaces: Iterable[GreInterface], key: int | None) -> Iterator[tuple[GreInterface, str]]:
    """Yield what receives packets with this key, the first that fits, each with the conditions.

    Another interface than a tunnel is left out if it has neither address nor device: it receives what fits no other
    one (gre0, or an ``external`` one).
    """
    fitting = [one for one in interfaces if one.has_key(key, sent=False)]
    for by_its_device in (True, False):
        for one in sorted(fitting, key=lambda one: (one.precision, not one.is_tunnel)):
            if by_its_device and not one.device:
                continue
            conditions = one.received(by_its_device=by_its_device)
            if conditions or one.device or one.is_tunnel:
                yield one, conditions


def other_senders(interfaces: Iterable[GreInterface], key: int | None) -> Iterator[str]:
    """Yield the conditions for packets with this key that another interface than a tunnel has sent."""
    fitting = [one for one in interfaces if one.has_key(key, sent=True)]
    tunnels = [one for one in fitting if one.is_tunnel]
    yield from filter(None, (one.sent(tunnels) for one in fitting if not one.is_tunnel))
