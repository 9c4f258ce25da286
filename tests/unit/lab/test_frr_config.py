"""What FRR has dropped of a configuration is seen, whatever vtysh's status."""

from dmvpn_agent.setup.frr_text import lines
from dmvpn_lab.frr_config import lacking

WRITTEN = """\
! a comment
frr defaults traditional
service integrated-vtysh-config
interface gre1
 ip nhrp network-id 1
exit
!
ip route 10.255.0.0/24 blackhole
router bgp 65000
 ! another
 neighbor spokes peer-group
 address-family ipv4 unicast
  neighbor spokes activate
 exit-address-family
exit
end
"""
SHOWN = """\
Building configuration...

Current configuration:
!
frr version 10.3
hostname hub
!
ip route 10.255.0.0/24 blackhole
!
interface gre1
 ip nhrp network-id 1
exit
!
router bgp 65000
 neighbor spokes peer-group
 !
 address-family ipv4 unicast
  neighbor spokes activate
 exit-address-family
exit
!
end
"""


def test_what_frr_shows_in_another_order_is_there() -> None:
    """Comments, and what only vtysh reads, are not asked for."""
    assert lacking(WRITTEN, SHOWN) == []


def test_a_dropped_line_is_named_with_its_section() -> None:
    """As staticd drops a route without mgmtd, and as a line may be there in another section only."""
    shown = SHOWN.replace("ip route 10.255.0.0/24 blackhole\n", "").replace("  neighbor spokes activate\n", "")
    assert lacking(WRITTEN, shown) == [
        "ip route 10.255.0.0/24 blackhole",
        "router bgp 65000 / address-family ipv4 unicast / neighbor spokes activate",
    ]
    assert lacking(" ip nhrp network-id 1\n", SHOWN) == ["ip nhrp network-id 1"]


def test_lines_know_their_sections() -> None:
    """A section ends with the next line that is not indented more."""
    assert ("router bgp 65000", "address-family ipv4 unicast", "neighbor spokes activate") in set(lines(WRITTEN))
    assert ("ip route 10.255.0.0/24 blackhole",) in set(lines(WRITTEN))
