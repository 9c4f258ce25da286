"""What rules do with a packet, as the agent reads them from the real nft and iptables.

Of each set of rules the kernel's own verdict is compared: a packet through a router.
"""

import shlex

import pytest

from contract.kernel.beside_firewalls import ROUTER, commands, is_dropped_as_said, kept, ours, passes, read_view
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.doctor.inspect_firewalls import read_tables
from dmvpn_agent.kernel.firewalls.rules import Packet
from dmvpn_agent.kernel.firewalls.verdict import find_drop

pytestmark = [pytest.mark.contract, needs("nft", "ip")]

#: The packet that the router forwards: of protocol 253, from gre1 to lan0.
FORWARDED = Packet(4, 253, "gre1", "lan0")
HOOK = "type filter hook forward priority 0;"

#: Rules of a table; whether the packet is dropped for certain, and whether the kernel drops it.
NFT = {
    "policy": (f"chain f {{ {HOOK} policy drop\n }}", True, True),
    "empty": (f"chain f {{ {HOOK}\n }}", False, False),
    "accepted by its interfaces": (
        f"chain f {{ {HOOK} policy drop; iifname gre1 oifname lan0 accept\n }}", False, False),
    "another interface": (f"chain f {{ {HOOK} policy drop; iifname eth7 accept\n }}", True, True),
    "a wildcard": (f'chain f {{ {HOOK} policy drop; iifname "gre*" accept\n }}', False, False),
    "not an interface": (f"chain f {{ {HOOK} iifname != lan0 drop\n }}", True, True),
    "a set of interfaces": (f"chain f {{ {HOOK} iifname {{ eth7, gre1 }} drop\n }}", True, True),
    "established only": (f"chain f {{ {HOOK} policy drop; ct state established,related accept\n }}", True, True),
    "new": (f"chain f {{ {HOOK} policy drop; ct state new accept\n }}", False, False),
    "a map of states": (
        f"chain f {{ {HOOK} policy drop; ct state vmap {{ established : accept, invalid : drop }}\n }}", True, True),
    "a map that jumps": (
        f"chain g {{ accept\n }}\nchain f {{ {HOOK} policy drop; iifname vmap {{ gre1 : goto g }}\n }}",
        False, False),
    "a port of TCP": (f"chain f {{ {HOOK} policy drop; tcp dport 22 accept\n }}", True, True),
    "a protocol": (f"chain f {{ {HOOK} meta l4proto 253 reject\n }}", True, True),
    "protocols": (f"chain f {{ {HOOK} meta l4proto 200-255 drop\n }}", True, True),
    "a protocol of IPv4": (f"chain f {{ {HOOK} ip protocol 253 drop\n }}", True, True),
    "a family": (f"chain f {{ {HOOK} meta nfproto ipv6 drop\n }}", False, False),
    "jump and return": (
        f"chain g {{ return\n }}\nchain f {{ {HOOK} jump g; iifname gre1 drop\n }}", True, True),
    "goto ends the chain": (
        f"chain g {{ iifname lan0 drop\n }}\nchain f {{ {HOOK} goto g; drop\n }}", False, False),
    "goto, then the policy": (
        f"chain g {{ counter\n }}\nchain f {{ {HOOK} policy drop; goto g; accept\n }}", True, True),
    "what another chain accepts": (
        f"chain f {{ {HOOK} accept\n }}\nchain l {{ type filter hook forward priority 10; drop\n }}", True, True),
    "before the hook": ("chain p { type filter hook prerouting priority -300; iifname gre1 drop\n }", True, True),
    "behind it": ("chain p { type filter hook postrouting priority 0; oifname lan0 drop\n }", True, True),
    "another hook": ("chain i { type filter hook input priority 0; drop\n }", False, False),
    "an address": (f"chain f {{ {HOOK} ip saddr 10.1.0.7 drop\n }}", False, True),
    "an address before a drop": (f"chain f {{ {HOOK} ip saddr 10.1.0.0/16 accept; drop\n }}", False, False),
    "a named set": (f"set s {{ type ipv4_addr\n }}\nchain f {{ {HOOK} ip saddr @s accept; drop\n }}", False, True),
    "a mark": (f"chain f {{ {HOOK} policy drop; meta mark 7 accept\n }}", False, True),
    "a limit": (f"chain f {{ {HOOK} limit rate 100/second accept; drop\n }}", False, False),
    "an address, then return": (f"chain f {{ {HOOK} ip saddr 10.1.0.7 return; drop\n }}", False, False),
    "the kind of destination": (f"chain f {{ {HOOK} fib daddr type local accept; drop\n }}", True, True),
    "IPsec": (f"chain f {{ {HOOK} meta secpath missing drop\n }}", True, True),
}  # fmt: skip


@in_network_namespace
async def test_tables_of_nftables() -> None:
    """What is certain is so in the kernel too."""
    command("sh", "-c", ROUTER)
    for case, (rules, certain, dropped) in NFT.items():
        lines = rules.replace("; ", "\n ")
        command("nft", "-f", "-", stdin=f"flush ruleset\ntable inet t {{\n{lines}\n}}\n")
        assert (find_drop((await read_tables())[0], FORWARDED) is not None) == certain, case
        assert passes("gre1", "10.1.0.7", "10.9.0.7", "lan0") != dropped, case


#: Lines of table filter.
IPTABLES = {
    "policy": ("-P FORWARD DROP", True, True),
    "accepted": ("-P FORWARD DROP\n-A FORWARD -i gre+ -o lan0 -j ACCEPT", False, False),
    "not this one": ("-A FORWARD ! -o gre1 -j DROP", True, True),
    "established only": (
        "-P FORWARD DROP\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", True, True),
    "a comment": ('-A FORWARD -i gre1 -m comment --comment x -j REJECT', True, True),
    "a port": ("-P FORWARD DROP\n-A FORWARD -p udp -m multiport --dports 500,4500 -j ACCEPT", True, True),
    "a protocol": ("-A FORWARD -p 253 -j DROP", True, True),
    "a chain": ("-N c\n-A c -i lan0 -j RETURN\n-A c -j DROP\n-A FORWARD -j c", True, True),
    "a chain that returns": ("-N c\n-A c -i gre1 -j RETURN\n-A c -j DROP\n-A FORWARD -j c", False, False),
    "goto": ("-N c\n-P FORWARD DROP\n-A FORWARD -g c\n-A FORWARD -j ACCEPT", True, True),
    "an address": ("-A FORWARD -s 10.1.0.7 -j DROP", False, True),
    "an address before": ("-P FORWARD DROP\n-A FORWARD -s 10.1.0.0/16 -j ACCEPT", False, False),
    "the kind of destination": ("-A FORWARD -m addrtype --dst-type LOCAL -j ACCEPT\n-A FORWARD -j DROP", True, True),
    "IPsec": ("-A FORWARD -m policy --dir in --pol none -j DROP", True, True),
    "a limit": ("-A FORWARD -m limit --limit 100/sec -j ACCEPT\n-A FORWARD -j DROP", False, False),
    "not TCP": ("-A FORWARD ! -p tcp -j DROP", True, True),
}  # fmt: skip


@needs("iptables-nft", "iptables-legacy", "iptables-nft-save", "iptables-legacy-save")
@pytest.mark.parametrize("variant", ["nft", "legacy"])
@in_network_namespace
async def test_tables_of_iptables(variant: str) -> None:
    """Of either variant; a table of iptables-nft is not read twice."""
    command("sh", "-c", ROUTER)
    for case, (rules, certain, dropped) in IPTABLES.items():
        for line in ("-P FORWARD ACCEPT", "-F", "-X", *rules.splitlines()):
            command(f"iptables-{variant}", *line.split())
        tables, unread = await read_tables()
        assert unread == ()
        names = [table.name for table in tables]
        assert (names.count("iptables filter"), "ip filter" in names) == (1, False), case
        assert (find_drop(tables, FORWARDED) is not None) == certain, case
        assert passes("gre1", "10.1.0.7", "10.9.0.7", "lan0") != dropped, case


#: As awall writes it: tables whole, ``ESTABLISHED`` first, a chain for what is logged, and the policy DROP.
RESTORED = """*filter
:FORWARD DROP [0:0]
:INPUT DROP [0:0]
:OUTPUT DROP [0:0]
:icmp-routing - [0:0]
:logreject-0 - [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan0 -o up0 -j ACCEPT
-A FORWARD -i gre1 -o lan0 -j ACCEPT
-A FORWARD -p icmp -j icmp-routing
-A FORWARD -i lan0 -o gre1 -j logreject-0
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -i up0 -p esp -j ACCEPT
-A INPUT -i up0 -p udp -m multiport --dports 500,4500 -j ACCEPT
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -j ACCEPT
-A icmp-routing -p icmp --icmp-type 3 -j ACCEPT
-A logreject-0 -m limit --limit 1/second -j LOG
-A logreject-0 -j REJECT
COMMIT
"""


@needs("iptables-nft-restore", "iptables-legacy-restore", "iptables-nft-save", "iptables-legacy-save")
@pytest.mark.parametrize("variant", ["nft", "legacy"])
@in_network_namespace
async def test_rules_restored_as_a_whole_leave_ours_and_are_named(variant: str) -> None:
    """The agent's table is not written again; GRE, LAN to tunnel and tunnel to tunnel are what the policy forgot."""
    command("sh", "-c", ROUTER)
    async with kept() as table:
        shown, writes = ours(), table.writes
        for _ in range(5):
            command(f"iptables-{variant}-restore", stdin=RESTORED)
            await table.at_rest()
        assert (ours(), table.writes) == (shown, writes)
        view = await read_view()
        is_dropped_as_said(view)
    assert {one.flow.what: one.rule for one in view.dropped} == {
        "GRE inside ESP, received by up0": "iptables filter, chain INPUT: policy drop",
        "BGP over IPv4, received by gre1": "iptables filter, chain INPUT: policy drop",
        "IPv4 from gre1 to gre1": "iptables filter, chain FORWARD: policy drop",
        "IPv4 from lan0 to gre1": "iptables filter, chain logreject-0: -A logreject-0 -j REJECT"
        " --reject-with icmp-port-unreachable",
    }
    assert [one.do for one in view.dropped if "GRE" in one.flow.what] == [
        "before that rule: iptables -I INPUT -i up0 -p gre -m policy --dir in --pol ipsec -j ACCEPT; and save it"
    ]
    for line in commands(view):
        command(f"iptables-{variant}", *line.split()[1:])
    after = await read_view()
    assert after.dropped == ()
    is_dropped_as_said(after)


#: A firewall as the wiki of nftables shows it.
OWN = """flush ruleset
table inet filter {
  chain inbound {
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname lo accept
    meta l4proto { icmp, icmpv6 } accept
  }
  chain input { type filter hook input priority filter; policy drop; jump inbound
  }
  chain forward { type filter hook forward priority filter; policy drop; jump inbound
  }
  chain output { type filter hook output priority filter; policy accept
  }
}
"""


@in_network_namespace
async def test_an_operators_own_table_is_opened_by_the_commands_given() -> None:
    """Each is put before what drops."""
    command("sh", "-c", ROUTER)
    command("nft", "-f", "-", stdin=OWN.replace("; ", "\n"))
    before = await read_view()
    assert len(before.dropped) == 8
    is_dropped_as_said(before)
    for line in commands(before):
        command(*shlex.split(line))
    after = await read_view()
    assert after.dropped == ()
    is_dropped_as_said(after)
