"""Random states of FRR and of who is accepted, for property and contract tests."""

from dataclasses import dataclass
from ipaddress import IPv4Network

from hypothesis import strategies as st

from dmvpn_agent.core.desired import Desired, desired
from dmvpn_agent.core.model import Peer
from dmvpn_agent.wire.frr import render
from factories import SETTINGS, spoke

NUMBERS = range(2, 6)
NETWORKS = ["192.168.1.0/24", "192.168.1.128/25", "192.168.2.0/24", "192.168.0.0/22", "192.168.3.0/28"]
UNIVERSE = [
    *(IPv4Network(text) for text in (*NETWORKS, "192.168.1.0/26", "192.168.1.0/27", "192.168.2.64/26")),
    *(IPv4Network(text) for text in ("0.0.0.0/0", "10.0.0.0/8", "172.16.0.0/16")),
]

peers = st.builds(
    lambda number, networks, as_number, print_: spoke(
        number, *sorted(networks), as_number=as_number, fingerprint=print_ * 64
    ),
    st.sampled_from(NUMBERS),
    st.sets(st.sampled_from(NETWORKS), min_size=1, max_size=3),
    st.sampled_from([64512, 64513]),
    st.sampled_from("ab"),
)
populations = st.lists(peers, max_size=4, unique_by=lambda peer: peer.protocol_address)


def wanted(population: list[Peer]) -> Desired:
    """Return what FRR must contain for these peers."""
    return desired(population, SETTINGS)


def lines_for(population: list[Peer]) -> list[str]:
    """Return the lines that write all of it into an FRR that has nothing of ours."""
    from dmvpn_agent.core.desired import Observed
    from dmvpn_agent.core.plan import plan

    return render(plan(wanted(population), Observed()).changes, SETTINGS.as_number)


_list = st.builds("dmvpn-agent-10.255.0.{}-in".format, st.sampled_from(NUMBERS)) | st.just("operators")
_seq = st.sampled_from([1, 5, 10, 4294967290, 4294967295])
_entry = st.builds(
    "{} {}{}".format, st.sampled_from(["permit", "deny"]), st.sampled_from(NETWORKS), st.sampled_from(["", " le 28"])
) | st.sampled_from(["deny any", "permit any"])
_address = st.builds("10.255.0.{}".format, st.sampled_from(NUMBERS))


@dataclass(frozen=True)
class Edit:
    """Lines that somebody types in ``configure terminal`` and ``router bgp``."""

    lines: tuple[str, ...]

    def typed(self) -> list[str]:
        return ["configure terminal", "router bgp 65000", *self.lines, "end"]


#: What an operator, or a crash, may leave behind.
edits = st.one_of(
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
