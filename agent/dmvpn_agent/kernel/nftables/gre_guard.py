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

from dmvpn_agent.kernel.events import LinkEvent
from dmvpn_agent.kernel.nftables.gre_interfaces import NO_KEY, GreInterface, gre_interfaces, other_senders, receivers
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
class GreGuard:
    """``mode`` is never ``OFF``. ``keys``: those of the tunnels, ``None`` for one without a key.

    ``interfaces``: the GRE interfaces of this node, which decide whose a packet is.
    """

    mode: FilterMode
    keys: frozenset[int | None] = frozenset()
    interfaces: tuple[GreInterface, ...] = ()

    def observing(self, tunnels: Collection[str], links: Mapping[str, LinkEvent]) -> "GreGuard":
        """Return the guard with what the kernel's interfaces say: the tunnels' keys and the other GRE interfaces.

        A tunnel that does not exist yet has its configured key only. An interface that is down receives nothing:
        the kernel gives its packets to another one that they fit.
        """
        keys = self.keys | {
            key for name in tunnels if name in links and links[name].kind == "gre" for key in links[name].keys
        }
        if keys & NO_KEY:
            keys |= NO_KEY
        interfaces = gre_interfaces(tunnels, links)
        return replace(self, keys=keys, interfaces=tuple(one for one in interfaces if keys & {*one.keys}))

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
        count = f"counter name {COUNTERS[direction]}{' drop' if self.mode is FilterMode.ENFORCE else ' return'}"
        conditions = self._received if direction == "received" else self._sent
        rules = "".join(
            f"    {header} {f'{condition} ' if condition else ''}{count if guarded else 'return'}\n"
            for key in sorted(self.keys, key=lambda key: -1 if key is None else key)
            for header in _headers(key)
            for guarded, condition in conditions(key)
        )
        return f"  chain clear_{direction} {{\n    @th,16,16 {{ {_OTHER_PAYLOADS} }} return\n{rules}  }}\n"

    def _received(self, key: int | None) -> Iterator[tuple[bool, str]]:
        """Yield which received packets with this key are guarded; the first condition that fits decides."""
        found = [(one.is_tunnel, conditions) for one, conditions in receivers(self.interfaces, key)]
        while found and found[-1][0]:
            found.pop()  # as the last one says
        yield from found
        yield True, ""

    def _sent(self, key: int | None) -> Iterator[tuple[bool, str]]:
        """Yield which packets with this key are guarded when they are sent."""
        yield from ((False, conditions) for conditions in other_senders(self.interfaces, key))
        yield True, ""


def _headers(key: int | None) -> Iterable[str]:
    """Return the conditions for GRE headers with a key: without a checksum, and with one, which stands before it."""
    if key is None:
        return (f"@th,0,16 & {_ROUTING | _KEY | _VERSION:#x} == 0",)
    mask = _CHECKSUM | _ROUTING | _KEY | _VERSION
    return tuple(
        f"@th,0,16 & {mask:#x} == {flags:#x} @th,{offset},32 {key}"
        for flags, offset in ((_KEY, 32), (_KEY | _CHECKSUM, 64))
    )
