"""The GRE guard: no GRE of the tunnels comes in or goes out without IPsec.

In native mode nothing else prevents that: the kernel takes GRE with a tunnel's key from any host, and sends it in the
clear to a host without an IPsec SA. In bridged mode charon's trap policy does, for as long as it is installed.

The guard sees the outer packet, whole, in the input and output hooks: after IPsec has taken its own off a received
packet, and after the kernel has found the IPsec policy of one to be sent. It looks at GRE with a tunnel's key only,
unless another GRE interface of this node would receive or has sent it. While charon negotiates an SA, the kernel
routes packets that need it to nowhere, by ``lo``: these are not sent in the clear. docs/gre-guard.md has the limits.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel.events import GreKeys, LinkEvent
from dmvpn_agent.kernel.nftables.section import Section, SectionName
from dmvpn_agent.kernel.nftables.source_filter import FilterMode

#: The counters of the packets without IPsec, by direction.
COUNTERS = {"received": "clear_gre_received", "sent": "clear_gre_sent"}

#: The flags of a GRE header that matter (RFC 2784, RFC 2890; linux/if_tunnel.h), with the version. The kernel ignores
#: the others. A packet with routing, or of another version, as PPTP's, is no tunnel's.
_CHECKSUM, _ROUTING, _KEY, _VERSION = 0x8000, 0x4000, 0x2000, 0x0007
#: Ethernet and the two versions of ERSPAN inside GRE belong to interfaces of other types.
_OTHER_PAYLOADS = "0x6558, 0x88be, 0x22eb"


@dataclass(frozen=True, slots=True)
class OtherTunnel:
    """Another GRE interface of this node; a packet may have anything where a field is empty.

    ``keys``: of the packets that it receives and that it sends. ``device``: the interface that it is bound to.
    """

    keys: GreKeys
    remote: Address | None = None
    local: Address | None = None
    device: str = ""

    def uses(self, key: int | None, direction: str) -> bool:
        """Tell whether its packets have this key."""
        return self.keys[direction == "sent"] == key

    def conditions(self, direction: str) -> str:
        """Return what its packets have, as nft's conditions."""
        received = direction == "received"
        far, near, device = ("saddr", "daddr", "iifname") if received else ("daddr", "saddr", "oifname")
        parts = [f"ip {far} {self.remote}"] if self.remote else []
        parts += [f"ip {near} {self.local}"] if self.local else []
        parts += [f'{device} "{self.device}"'] if self.device else []
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class GreGuard:
    """``mode`` is never ``OFF``. ``keys``: those of the tunnels, ``None`` for one without a key."""

    mode: FilterMode
    keys: frozenset[int | None] = frozenset()
    others: tuple[OtherTunnel, ...] = ()

    def observing(self, tunnels: Collection[str], links: Mapping[str, LinkEvent]) -> "GreGuard":
        """Return the guard with what the kernel's interfaces say: the tunnels' keys and the other GRE interfaces.

        A tunnel that does not exist yet has its configured key only. An interface that is down receives nothing:
        the kernel gives its packets to another one that they fit.
        """
        keys = self.keys | {
            key for name in tunnels if name in links and links[name].kind == "gre" for key in links[name].keys
        }
        names = {link.index: name for name, link in links.items()}
        others = (
            OtherTunnel(link.keys, link.remote, link.local, names.get(link.underlay, ""))
            for name, link in sorted(links.items())
            if link.kind == "gre" and link.up and name not in tunnels and keys & {*link.keys}
        )
        # One without any of the three receives what no other interface takes (gre0, or an ``external`` one).
        return replace(self, keys=keys, others=tuple(one for one in others if one.conditions("sent")))

    def section(self) -> Section:
        """Return the guard as a section of the table."""
        return Section(
            SectionName.GUARD,
            f"""\
{"".join(f"  counter {name} {{{chr(10)}  }}{chr(10)}" for name in COUNTERS.values())}\
{self._chain("received")}{self._chain("sent")}\
  chain guard_input {{
    type filter hook input priority filter + 10; policy accept;
    meta nfproto ipv4 meta l4proto gre meta ipsec missing goto clear_received
  }}
  chain guard_output {{
    type filter hook output priority filter + 10; policy accept;
    meta nfproto ipv4 meta l4proto gre oifname != "lo" rt ipsec missing goto clear_sent
  }}
""",
        )

    def _chain(self, direction: str) -> str:
        rules = "".join(f"    {rule}\n" for rule in self._rules(direction))
        return f"  chain clear_{direction} {{\n    @th,16,16 {{ {_OTHER_PAYLOADS} }} return\n{rules}  }}\n"

    def _rules(self, direction: str) -> Iterator[str]:
        verdict = " drop" if self.mode is FilterMode.ENFORCE else " return"
        for key in sorted(self.keys, key=lambda key: -1 if key is None else key):
            for header in _headers(key):
                for other in self.others:
                    if other.uses(key, direction):
                        yield f"{header} {other.conditions(direction)} return"
                yield f"{header} counter name {COUNTERS[direction]}{verdict}"


def _headers(key: int | None) -> Iterable[str]:
    """Return the conditions for GRE headers with a key: without a checksum, and with one, which stands before it."""
    if key is None:
        return (f"@th,0,16 & {_ROUTING | _KEY | _VERSION:#x} == 0",)
    mask = _CHECKSUM | _ROUTING | _KEY | _VERSION
    return tuple(
        f"@th,0,16 & {mask:#x} == {flags:#x} @th,{offset},32 {key}"
        for flags, offset in ((_KEY, 32), (_KEY | _CHECKSUM, 64))
    )
