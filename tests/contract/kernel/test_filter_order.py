"""The source filter beside other programs' chains, and beside what the kernel does with packets in between.

The mark of a packet's sender is on it from the last moment before GRE is taken off until the first one after that.
"""

import asyncio
import socket

import pytest

from contract.kernel.packets import UNASSIGNED, frame_ipv4
from contract.kernel.source_filters import GRE, filtered, packet_from, packets, peer, send
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.nftables.source_filter import SPOOFED, FilterMode
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs("nft")]

IPV4, MORE = b"\x08\x00", 0x20
#: Another program's table, which changes the marks of all packets, as a policy router does.
OTHER = """
table inet other {{
  chain changes {{
    type filter hook {hook} priority {priority};
    meta mark set {mark}
  }}
}}
"""


@pytest.mark.parametrize(
    ("hook", "priority", "mark"),
    [("prerouting", -299, "0"), ("prerouting", -150, "ct mark"), ("input", -150, "ct mark"), ("input", 300, "7")],
    ids=["raw", "CONNMARK --restore-mark", "the same for input", "after the firewall"],
)
@in_network_namespace
async def test_no_other_program_takes_the_mark_off_the_outer_packet(hook: str, priority: int, mark: str) -> None:
    """Without it the whole peer would be cut off."""
    async with filtered(FilterMode.ENFORCE, peer(1)):
        command("nft", "-f", "-", stdin=OTHER.format(hook=hook, priority=priority, mark=mark))
        send(frame_ipv4("203.0.113.1", "192.0.2.1", bytes((2, 0, 0, 0, 0, 2)), GRE), interface="up0")
        await until(lambda: packets("marked_first") + packets("marked_nobody") == 1)
        assert packets("marked_first") == 1


@pytest.mark.parametrize("priority", [-450, -299], ids=["raw before fragments are joined", "raw"])
@in_network_namespace
async def test_no_other_program_takes_the_mark_off_the_inner_packet(priority: int) -> None:
    """Several use the same bits as the default mask, as Calico does."""
    async with filtered(FilterMode.ENFORCE, peer(1), peer(2)) as one:
        other = OTHER.format(hook="prerouting", priority=priority, mark="meta mark & 0xfff0ffff")
        command("nft", "-f", "-", stdin=other)
        send(packet_from(1, "10.1.0.7"), packet_from(2, "10.2.0.9"), packet_from(1, "10.2.0.7"))
        await until(lambda: packets("forwarded") == 2)
        assert await one.counted(SPOOFED, peer(1)) == 1


@in_network_namespace
async def test_gre_that_only_passes_through_keeps_its_mark() -> None:
    """It is another host's; the operator's rules may route by its mark."""
    async with filtered(FilterMode.ENFORCE, peer(1)):
        command("nft", "add counter inet test passing; add rule inet test forward meta l4proto gre "
                "meta mark 0x30000 counter name passing")  # fmt: skip
        command("ip", "neigh", "add", "203.0.113.9", "lladdr", "02:00:00:00:00:09", "dev", "up0")
        send(frame_ipv4("203.0.113.1", "203.0.113.9", bytes((2, 0, 0, 0, 0, 2)), GRE), interface="up0")
        await until(lambda: packets("passing") == 1)


@in_network_namespace
async def test_gre_inside_the_tunnel_has_no_mark_of_a_peer() -> None:
    """Another program may mark packets from the tunnel with the same bits: their sender would be that peer."""
    async with filtered(FilterMode.ENFORCE, peer(1), peer(2)):
        command("nft", "-f", "-", stdin=OTHER.format(hook="prerouting", priority=-150, mark="0x20005"))
        command("nft", "add counter inet test inside; add counter inet test of_peer;"
                " add rule inet test marked iifname gre1 meta l4proto gre counter name inside;"
                " add rule inet test marked iifname gre1 mark & 0xffff0000 != 0 counter name of_peer")  # fmt: skip
        send(frame_ipv4("10.1.0.7", "192.0.2.1", bytes((2, 0, 0, 0, 0, 2)), GRE))
        await until(lambda: packets("inside") == 1)
        assert packets("of_peer") == 0


#: The chains as the agent once wrote them.
FORMER = """
table inet dmvpn_agent {
  chain mark_peers { type filter hook prerouting priority raw; }
  chain source_filter { type filter hook prerouting priority raw + 10; }
}
"""


@in_network_namespace
async def test_chains_that_stood_elsewhere_are_written_again() -> None:
    """As after an upgrade: nft does not move a chain."""
    command("nft", "-f", "-", stdin=FORMER)
    async with filtered(FilterMode.ENFORCE, peer(1)):
        shown = command("nft", "list", "table", "inet", "dmvpn_agent")
        assert "type filter hook input priority 500" in shown
        assert "hook prerouting priority -500" in shown
        assert "priority raw" not in shown


def _fragment(number: int, source: str, content: bytes, *, offset: int, more: bool) -> bytes:
    """Return a fragment of a datagram from the peer with this number; ``offset`` is in bytes."""
    frame = bytearray(frame_ipv4(source, "10.2.0.2", bytes((2, 0, 0, 0, 0, number + 1))))
    ethernet, header = frame[:14], frame[14:34]
    header[2:4] = (20 + len(content)).to_bytes(2, "big")
    header[4:6] = (77).to_bytes(2, "big")
    header[6:8] = ((0x2000 if more else 0) | offset // 8).to_bytes(2, "big")
    header[10:12] = bytes(2)
    total = sum(header[at] << 8 | header[at + 1] for at in range(0, 20, 2))
    header[10:12] = (0xFFFF - total % 0xFFFF).to_bytes(2, "big")
    return bytes(ethernet + header) + content


@in_network_namespace
async def test_a_forged_fragment_does_not_get_into_another_peers_datagram() -> None:
    """Nor does it keep that datagram from arriving, where connection tracking joins fragments before it looks."""
    async with filtered(FilterMode.ENFORCE, peer(1), peer(2)) as one:
        command("nft", "add rule inet test forward ct state invalid counter")
        with _wire() as wire:
            send(
                _fragment(2, "10.1.0.7", b"FORGED..", offset=16, more=False),
                _fragment(1, "10.1.0.7", b"as" * 8, offset=0, more=True),
                _fragment(1, "10.1.0.7", b"meant...", offset=16, more=False),
            )
            frames = await _received(wire)
        joined = b"".join(frame[34:] for frame in frames)
        assert joined == b"as" * 8 + b"meant..."
        assert await one.counted(SPOOFED, peer(2)) == 1


def _wire() -> socket.socket:
    """Return the far end of the tunnel."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(0x0003))
    wire.bind(("other-gre1", 0))
    return wire


async def _received(wire: socket.socket) -> list[bytes]:
    """Return the packets of the protocol under test that come out, up to the last fragment."""
    frames: list[bytes] = []
    async with asyncio.timeout(10):
        while not frames or frames[-1][20] & MORE:
            frame, (_, _, kind, _, _) = await asyncio.get_running_loop().sock_recvfrom(wire, 2048)
            if kind != socket.PACKET_OUTGOING and frame[12:14] == IPV4 and frame[23] == UNASSIGNED:
                frames.append(frame)
    return frames
