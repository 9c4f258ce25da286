"""How the bridge answers nhrpd's commands."""

from collections.abc import Callable

import pytest

from contract.bridge_stand import DESTROYING, HUB, INSTALLED, SPOKE, Stand, spoke, stand
from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.commands import InitLimits
from dmvpn_agent.charon.vici import PacketType, text
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import until

__all__ = ["stand"]


async def test_initiate_sends_one_packet(stand: Stand) -> None:
    """The kernel then requests an SA to exactly that peer from charon."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 6)
        assert text(nhrpd.answers[5].message, "success") == "yes"
        assert stand.packets == [(HUB, SPOKE)]


async def test_initiate_announces_an_existing_sa_again(stand: Stand) -> None:
    """nhrpd may have missed it; no packet is sent."""
    stand.charon.up(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: nhrpd.events(INSTALLED) == [11])
        assert stand.packets == []


@pytest.mark.parametrize("profile", ["dmvpn", "dmvpn2"])
async def test_every_profile_is_served(stand: Stand, profile: str) -> None:
    """nhrpd can request an SA in each, and end all of its IKE_SAs."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate(profile, str(HUB), str(SPOKE))
        nhrpd.request("terminate", ike=profile)
        await until(lambda: len(nhrpd.answers) == 7)
        assert stand.packets == [(HUB, SPOKE)]
        assert stand.charon.requests[-1] == ("terminate", {"ike": profile.encode(), "timeout": b"-1"})


async def test_a_second_initiate_within_moments_sends_no_packet(stand: Stand) -> None:
    """charon is negotiating already; another packet would not speed it up."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        for number, now in enumerate((0.0, 1.9, 2.0), 6):
            stand.now = now
            nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
            await until(lambda number=number: len(nhrpd.answers) == number)  # type: ignore[misc]
        assert stand.packets == [(HUB, SPOKE)] * 2
        assert stand.telemetry.value(metrics.BRIDGE_TRIGGERS, "under_way") == 1


async def test_initiate_after_an_sa_came_and_went_sends_a_packet(stand: Stand) -> None:
    """However soon: nhrpd would not request it again for half a minute."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 6)
        stand.charon.up(spoke())
        await until(lambda: nhrpd.events(INSTALLED) == [11])
        stand.charon.down(1)
        await until(lambda: nhrpd.events(DESTROYING) == [11])
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 7)
        assert stand.packets == [(HUB, SPOKE)] * 2


@pytest.mark.parametrize(
    ("limits", "half_open", "jobs", "init_limits", "packets"),
    [
        (InitLimits(half_open=5), 5, 0, "1", 0),
        (InitLimits(half_open=5), 4, 0, "1", 1),
        (InitLimits(half_open=5), 5, 0, "0", 1),
        (InitLimits(job_load=3), 0, 4, "1", 0),
        (InitLimits(job_load=3), 0, 3, "1", 1),
        (InitLimits(), 1000, 1000, "1", 1),
    ],
)
async def test_init_limits_are_applied_as_charon_does(
    stand: Stand, limits: InitLimits, half_open: int, jobs: int, init_limits: str, packets: int
) -> None:
    """A request without init-limits, such as a registration, is not limited."""
    stand.limits = limits
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.half_open, stand.charon.jobs = half_open, jobs
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE), init_limits=init_limits)
        await until(lambda: len(nhrpd.answers) == 6)
        assert len(stand.packets) == packets
        assert ("due to limits" in text(nhrpd.answers[5].message, "errmsg")) is not bool(packets)


async def test_terminate_by_profile_is_answered_as_charon_does(stand: Stand) -> None:
    """With the number of the profile's IKE_SAs."""
    for number in (1, 2):
        stand.charon.up(spoke(number))
    stand.charon.up(spoke(3, name="office"))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request("terminate", ike="dmvpn")
        await until(lambda: len(nhrpd.answers) == 6)
        assert nhrpd.answers[5].message == {"success": b"yes", "matches": b"2", "terminated": b"2"}


async def test_another_connections_ike_sa_cannot_be_terminated(stand: Stand) -> None:
    """nhrpd must not end charon's other tunnels."""
    stand.charon.up(spoke(3, name="office"))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request("terminate", ike_id="3")
        await until(lambda: len(nhrpd.answers) == 6)
        assert "no matching SAs" in text(nhrpd.answers[5].message, "errmsg")
        assert "terminate" not in {name for name, _ in stand.charon.requests}


def _initiate(*words: str) -> Callable[[NhrpdVici], None]:
    return lambda nhrpd: nhrpd.initiate(*words)


def _request(command: str, **message: str) -> Callable[[NhrpdVici], None]:
    return lambda nhrpd: nhrpd.request(command, **message)


REFUSED = [
    (_initiate("other", str(HUB), str(SPOKE)), "profile 'other' is not served"),
    (_initiate("dmvpn", str(HUB), "nowhere"), "my-host or other-host"),
    (_request("terminate", ike="other"), "only ike-id"),
    (_request("terminate", ike_id="99"), "no matching SAs"),
]


@pytest.mark.parametrize(("ask", "why"), REFUSED, ids=[why for _, why in REFUSED])
async def test_a_refusal_gives_the_reason(stand: Stand, ask: Callable[[NhrpdVici], None], why: str) -> None:
    """nhrpd logs it."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        ask(nhrpd)
        await until(lambda: len(nhrpd.answers) == 6)
        assert text(nhrpd.answers[5].message, "success") == "no"
        assert why in text(nhrpd.answers[5].message, "errmsg")
        assert stand.packets == []


async def test_a_packet_that_cannot_be_sent_is_a_refusal(stand: Stand) -> None:
    """As without CAP_NET_RAW."""
    stand.refusal = "a raw socket needs CAP_NET_RAW"
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 6)
        assert "CAP_NET_RAW" in text(nhrpd.answers[5].message, "errmsg")
        assert stand.telemetry.value(metrics.BRIDGE_TRIGGERS, "failed") == 1


async def test_terminate_goes_to_charon_without_waiting(stand: Stand) -> None:
    """By unique id, as nhrpd ends one peer; the answer has only the fields that nhrpd needs."""
    stand.charon.up(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request("terminate", ike_id="1", force="yes")
        await until(lambda: len(nhrpd.answers) == 6)
        assert text(nhrpd.answers[5].message, "success") == "yes"
        assert stand.charon.requests[-1] == ("terminate", {"ike-id": b"1", "timeout": b"-1"})


@pytest.mark.parametrize("command", ["load-key", "unload-conn", "stats", "x" * 255])
async def test_other_commands_never_reach_charon(stand: Stand, command: str) -> None:
    """The bridge's socket must not circumvent charon's permissions."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request(command)
        await until(lambda: len(nhrpd.answers) == 6)
        assert nhrpd.answers[5].type is PacketType.CMD_UNKNOWN
        assert {name for name, _ in stand.charon.requests} <= {"list-sas", "list-certs", "list-conns"}


async def test_initiate_before_charon_has_the_connection_sends_no_packet(stand: Stand) -> None:
    """charon would refuse the kernel's request, and the kernel would make no other one for half a minute."""
    connection = stand.charon.connections.pop("dmvpn")
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 6)
        assert "swanctl --load-all" in text(nhrpd.answers[5].message, "errmsg")
        assert stand.packets == []
        stand.charon.connections["dmvpn"] = connection
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: stand.packets == [(HUB, SPOKE)])


async def test_a_connection_that_is_loaded_is_read_without_an_event(stand: Stand) -> None:
    """Until then the bridge does not know how a peer that comes by itself authenticates."""
    connection = stand.charon.connections.pop("dmvpn")
    async with stand.bridged():
        stand.charon.connections["dmvpn"] = connection
        read = [name for name, _ in stand.charon.requests].count("list-conns")
        await until(lambda: [name for name, _ in stand.charon.requests].count("list-conns") > read)
