"""Random states of FRR and random accepted peers, for property and contract tests."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address, ip_network

from hypothesis import strategies as st

from dmvpn_agent.addresses import Network
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.settings import BgpSettings, MaximumPrefix
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.x509.peer_label import read_label
from factories import SETTINGS, spoke

NUMBERS = range(2, 6)
NETWORKS = ["192.168.1.0/24", "192.168.1.128/25", "192.168.2.0/24", "192.168.0.0/22", "192.168.3.0/28"]
NETWORKS_IPV6 = ["2001:db8:1::/48", "2001:db8:1:8000::/49", "2001:db8:2::/48"]
UNIVERSE: list[Network] = [
    *(ip_network(text) for text in (*NETWORKS_IPV6, "2001:db8:1:4::/64", "2001:db8:1:4::/80", "::/0")),
    *(IPv4Network(text) for text in (*NETWORKS, "192.168.1.0/26", "192.168.1.0/27", "192.168.2.64/26")),
    *(IPv4Network(text) for text in ("0.0.0.0/0", "10.0.0.0/8", "172.16.0.0/16")),
]

#: The networks that a hub announces for others, with the longest prefix length.
CARRIED: list[tuple[tuple[Network, int], ...] | None] = [
    None,
    None,
    ((ip_network("0.0.0.0/0"), 26), (ip_network("::/0"), 64)),
    ((ip_network("192.168.0.0/16"), 32), (ip_network("2001:db8::/32"), 128)),
]

peers = st.builds(
    lambda number, networks, as_number, print_, kind, name, carries, withheld: replace(
        spoke(number, *sorted(networks), as_number=as_number, fingerprint=print_ * 64),
        kind=kind,
        label=read_label(name),
        transit=carries,
        withheld=tuple(ip_network(text) for text in sorted(withheld)),
    ),
    st.sampled_from(NUMBERS),
    st.sets(st.sampled_from([*NETWORKS, *NETWORKS_IPV6]), min_size=1, max_size=4),
    st.sampled_from([64512, 64513, 65000]),
    st.sampled_from("ab"),
    st.sampled_from([PeerKind.SPOKE, PeerKind.SPOKE, PeerKind.HUB]),
    st.sampled_from(["", "spoke", "x in\nno router bgp", "!"]),
    st.sampled_from(CARRIED),
    st.sets(st.sampled_from([*NETWORKS, *NETWORKS_IPV6]), max_size=2),
)
populations = st.lists(peers, max_size=4, unique_by=lambda peer: peer.protocol_address)


#: Minimal settings, and settings with everything.
PLAIN = SETTINGS
FULL = replace(
    SETTINGS,
    hub_peer_group="hubs",
    ibgp_peer_group="internal",
    ipv6=True,
    maximum_prefix=MaximumPrefix(1000, 15),
    hub_weights={ip_address(f"10.255.0.{number}"): 100 * number for number in NUMBERS},
)
choices = st.sampled_from([PLAIN, FULL, replace(FULL, maximum_prefix=MaximumPrefix(500), hub_weights={})])


def wanted(population: list[Peer], by: BgpSettings = SETTINGS) -> Desired:
    """Return what FRR must contain for these peers; iBGP peers need a group of their own."""
    external = (replace(peer, as_number=64513) if peer.as_number == by.as_number else peer for peer in population)
    return desired(population if by.ibgp_peer_group else external, by)


def lines_for(population: list[Peer], by: BgpSettings = SETTINGS) -> list[str]:
    """Return the lines that write these peers to an FRR without any of the agent's configuration."""
    from dmvpn_agent.bgp.neighbors import Observed
    from dmvpn_agent.bgp.plan import plan

    return render(plan(wanted(population, by), Observed()).changes, SETTINGS.instance)


_list = st.builds("dmvpn-agent-10.255.0.{}-in".format, st.sampled_from(NUMBERS)) | st.just("operators")
_list_ipv6 = st.builds("dmvpn-agent-10.255.0.{}-in6".format, st.sampled_from(NUMBERS))
_entry_ipv6 = st.builds(
    "{} {}{}".format,
    st.sampled_from(["permit", "deny"]),
    st.sampled_from(NETWORKS_IPV6),
    st.sampled_from(["", " le 64", " le 128"]),
) | st.sampled_from(["deny any", "permit any"])
_seq = st.sampled_from([1, 5, 10, 1000000005, 1000000010, 4294967290, 4294967295])
_entry = st.builds(
    "{} {}{}".format,
    st.sampled_from(["permit", "deny"]),
    st.sampled_from(NETWORKS),
    st.sampled_from(["", " le 28", " le 32"]),
) | st.sampled_from(["deny any", "permit any"])
_address = st.builds("10.255.0.{}".format, st.sampled_from(NUMBERS))


@dataclass(frozen=True)
class Edit:
    """Lines that an operator types in ``configure terminal`` and ``router bgp``."""

    lines: tuple[str, ...]

    def typed(self) -> list[str]:
        return ["configure terminal", "router bgp 65000", *self.lines, "end"]


#: Edits that an operator or a crash may leave behind.
edits = st.one_of(
    st.builds(
        lambda name, seq, entry: Edit((f"ipv6 prefix-list {name} seq {seq} {entry}",)), _list_ipv6, _seq, _entry_ipv6
    ),
    st.builds(lambda name: Edit((f"no ipv6 prefix-list {name}",)), _list_ipv6),
    st.builds(
        lambda number, no: Edit(
            (
                f"neighbor 10.255.0.{number} remote-as 64512",
                "address-family ipv6 unicast",
                f"{no}neighbor 10.255.0.{number} activate",
                "exit-address-family",
            )
        ),
        st.sampled_from(NUMBERS),
        st.sampled_from(["", "no "]),
    ),
    st.builds(lambda name, seq, entry: Edit((f"ip prefix-list {name} seq {seq} {entry}",)), _list, _seq, _entry),
    st.builds(lambda name, seq: Edit((f"no ip prefix-list {name} seq {seq} deny any",)), _list, _seq),
    st.builds(lambda name: Edit((f"no ip prefix-list {name}",)), _list),
    st.builds(lambda name: Edit((f"ip prefix-list {name} description seen",)), _list),
    st.builds(lambda address: Edit((f"no neighbor {address}",)), _address),
    st.builds(lambda address: Edit((f"neighbor {address} remote-as 64512",)), _address),
    st.builds(
        lambda address: Edit((f"neighbor {address} remote-as 64512", f"neighbor {address} description mine")),
        _address,
    ),
    st.builds(
        lambda number, family, line: Edit(
            (
                f"neighbor 10.255.0.{number} remote-as 64512",
                f"address-family {family} unicast",
                line.format(f"neighbor 10.255.0.{number}"),
                "exit-address-family",
            )
        ),
        st.sampled_from(NUMBERS),
        st.sampled_from(["ipv4", "ipv6"]),
        st.sampled_from(
            [
                "{} maximum-prefix 7",
                "{} maximum-prefix 7 restart 1",
                "{} maximum-prefix 7 50 warning-only",
                "no {} maximum-prefix",
                "{} weight 7",
                "no {} weight",
            ]
        ),
    ),
    st.builds(
        lambda number, operators: Edit(
            (
                f"neighbor 10.255.0.{number} remote-as 64512",
                "address-family ipv4 unicast",
                f"neighbor 10.255.0.{number} prefix-list "
                + ("operators in" if operators else f"dmvpn-agent-10.255.0.{number}-in in"),
                "exit-address-family",
            )
        ),
        st.sampled_from(NUMBERS),
        st.booleans(),
    ),
    st.builds(
        lambda address: Edit(
            (f"no neighbor {address}", f"neighbor {address} remote-as 64512", f"neighbor {address} peer-group others")
        ),
        _address,
    ),
    st.builds(
        lambda address: Edit(
            (
                f"no neighbor {address}",
                f"neighbor {address} remote-as 64512",
                f"neighbor {address} description dmvpn-agent certificate aaaa",
                f"neighbor {address} peer-group others",
            )
        ),
        _address,
    ),
)
