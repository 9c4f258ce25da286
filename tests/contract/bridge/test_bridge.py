"""The events that the bridge sends nhrpd about SAs."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from contract.bridge_stand import DESTROYING, HUB, INSTALLED, Stand, spoke, stand
from dmvpn_agent.bridge import bridge, metrics
from dmvpn_agent.charon.commands import list_plugins
from dmvpn_agent.charon.vici import Packet, PacketType
from dmvpn_agent.runtime.clocks import utc_now
from factories import NOW, YEAR, der
from fakes.charon import FakeSa
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import until

__all__ = ["stand"]


async def test_nhrpds_four_events_are_confirmed_and_no_others(stand: Stand) -> None:
    """charon's answer to an unknown event is EVENT_UNKNOWN, and so is the bridge's."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        kinds = [packet.type for packet in nhrpd.answers]
        assert kinds == [PacketType.EVENT_CONFIRM] * 4 + [PacketType.CMD_RESPONSE]
        nhrpd.send(Packet(PacketType.EVENT_REGISTER, "log"))
        await until(lambda: len(nhrpd.answers) == 6)
        assert nhrpd.answers[5].type is PacketType.EVENT_UNKNOWN


async def test_an_sa_that_comes_up_is_announced_with_its_certificate(stand: Stand) -> None:
    """charon reports no certificate; the bridge finds it."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(spoke())
        await until(lambda: nhrpd.received)
        assert nhrpd.received == [(INSTALLED, 11, der())]


async def test_existing_sas_are_listed(stand: Stand) -> None:
    """nhrpd requests the list when it connects."""
    await stand.came(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.received == [("list-sa", 11, der())]


async def test_the_end_of_an_sa_is_announced(stand: Stand) -> None:
    """nhrpd removes the circuit."""
    stand.charon.up(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.down(1)
        await until(lambda: nhrpd.events(DESTROYING) == [11])


async def test_the_next_event_makes_up_for_a_missed_one(stand: Stand) -> None:
    """After any event about an IKE_SA the bridge lists all of it."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        sa = spoke()
        stand.charon.up(sa, silent=True)
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(INSTALLED) == [11])


async def test_a_new_peer_with_a_certificate_is_announced_before_it_is_listed(stand: Stand) -> None:
    """However long charon takes to list it, if no earlier event waits for its listing."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        sa = spoke()
        stand.charon.raise_event("ike-updown", {"up": "yes", sa.name: sa.section(**{"child-sas": {}})})
        await until(lambda: [name for name, _ in stand.charon.requests[-2:]] == ["list-certs", "list-conns"])
        stand.charon.hang = True
        stand.charon.up(sa)
        await until(lambda: nhrpd.received == [(INSTALLED, 11, der())])


@pytest.mark.parametrize(("name", "connection"), [("ike-update", "(unnamed)"), ("ike-updown", "office")])
async def test_an_event_that_is_not_about_a_profile_lists_nothing(stand: Stand, name: str, connection: str) -> None:
    """Each new peer raises one before charon has chosen its connection. Neither IKE_SAs nor the cache are read."""
    async with stand.bridged(), stand.nhrpd():
        await until(lambda: stand.charon.requests[-1][0] == "list-conns")
        assert stand.bridge.session
        stand.charon.requests.clear()
        stand.charon.raise_event(name, {"up": "yes", connection: spoke(2).section()})
        for _ in range(2):  # charon's answer follows its event, and a listing would precede the second answer
            await list_plugins(stand.bridge.session)
        assert [command for command, _ in stand.charon.requests] == ["stats", "stats"]


async def test_the_certificate_outlives_charons_cache(stand: Stand) -> None:
    """The cache has room for 32. The bridge keeps a certificate as long as the IKE_SA lives."""
    await stand.came(spoke())
    async with stand.bridged():
        async with stand.nhrpd():
            stand.charon.certificates.clear()
        async with stand.nhrpd() as nhrpd:
            assert nhrpd.received == [("list-sa", 11, der())]


async def test_the_certificate_outlives_the_bridge(stand: Stand) -> None:
    """It is stored by the IKE_SA's SPIs."""
    await stand.came(spoke())
    stand.charon.certificates.clear()
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.received == [("list-sa", 11, der())]


async def test_a_certificate_goes_with_its_ike_sa(stand: Stand) -> None:
    """A new IKE_SA of the same peer needs a certificate of its own."""
    await stand.came(spoke(1))
    stand.charon.certificates.clear()
    stand.charon.sas.clear()
    stand.charon.up(spoke(2))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.received == [("list-sa", 12, b"")]


@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["forward", "back"])
async def test_a_jump_of_the_time_of_day_changes_no_circuit(stand: Stand, jump: timedelta) -> None:
    """What is announced stays, with its certificate, and a peer that comes afterwards gets its own."""
    valid = der(not_before=NOW - 3 * YEAR, not_after=NOW + 3 * YEAR)
    stand.charon.certificates = [valid]
    sa = spoke()
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(sa)
        await until(lambda: nhrpd.received)
        stand.off = jump
        for _ in range(3):
            stand.charon.requests.clear()
            stand.charon.raise_event("ike-update", {sa.name: sa.section()})
            await until(lambda: "list-sas" in {name for name, _ in stand.charon.requests})
        stand.charon.up(spoke(5))
        await until(lambda: len(nhrpd.received) == 2)
        stand.charon.rekey_child(1, old=11, new=12)
        await until(lambda: len(nhrpd.received) == 4)
        assert nhrpd.received == [(INSTALLED, 11, valid), (INSTALLED, 15, valid), (INSTALLED, 12, valid),
                                  (DESTROYING, 11, valid)]  # fmt: skip
        assert "terminate" not in {name for name, _ in stand.charon.requests}


@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["forward", "back"])
async def test_after_a_jump_a_certificate_that_is_not_valid_then_does_not_count(
    stand: Stand, jump: timedelta
) -> None:
    """A peer that is connected keeps what it proved; the agent judges its dates."""
    stand.charon.certificates = [der(not_before=utc_now() - YEAR / 2, not_after=utc_now() + YEAR / 2)]
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(spoke())
        await until(lambda: nhrpd.received)
        stand.off = jump
        stand.charon.up(spoke(5))
        await until(lambda: len(nhrpd.received) == 2)
        assert [bool(certificate) for _, _, certificate in nhrpd.received] == [True, False]


async def test_a_circuit_that_ends_while_it_is_listed_is_not_announced_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is known, so that the event alone was enough to announce it; another peer's event follows."""
    command = stand.charon._command
    before_answers = [
        lambda: stand.charon.down(5),
        lambda: stand.charon.up(replace(spoke(6), remote_host="203.0.113.6")),
    ]

    def answered(packet: Packet, writer: asyncio.StreamWriter) -> Packet:
        if packet.name == "list-sas" and before_answers:
            before_answers.pop(0)()
        return command(packet, writer)

    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(spoke(1))
        await until(lambda: nhrpd.received)
        other = replace(spoke(5), remote_host="203.0.113.5")
        stand.charon.raise_event("ike-updown", {"up": "yes", other.name: other.section(**{"child-sas": {}})})
        await until(lambda: stand.charon.requests[-1][0] == "list-conns")
        monkeypatch.setattr(stand.charon, "_command", answered)
        stand.charon.up(other)
        await until(lambda: nhrpd.events(DESTROYING) == [15])
        await until(lambda: 16 in nhrpd.events(INSTALLED))
        assert nhrpd.events(INSTALLED) == [11, 15, 16]


async def test_rekeying_a_child_announces_the_new_one_first(stand: Stand) -> None:
    """nhrpd always has a circuit."""
    await stand.came(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.rekey_child(1, old=11, new=12)
        await until(lambda: len(nhrpd.received) == 3)
        assert nhrpd.received[1:] == [(INSTALLED, 12, der()), (DESTROYING, 11, der())]


async def test_rekeying_an_ike_sa_keeps_certificate_and_circuit(stand: Stand) -> None:
    """The CHILD_SAs move; nhrpd receives the new IKE_SA's unique id, and no circuit is destroyed."""
    await stand.came(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.certificates.clear()
        stand.charon.rekey_ike(1, 2)
        await until(lambda: len(nhrpd.received) == 2)
        assert nhrpd.received[1] == (INSTALLED, 11, der())
        assert nhrpd.events(DESTROYING) == []


async def test_an_sa_missing_in_one_listing_is_listed_again(stand: Stand) -> None:
    """While charon rekeys an IKE_SA, list-sas may show its CHILD_SA neither in the old nor in the new one."""
    sa = spoke()
    stand.charon.up(sa)
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.hide_once = {11}
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: not stand.charon.hide_once)
        stand.charon.up(spoke(2))
        await until(lambda: nhrpd.events(INSTALLED))
        assert nhrpd.received[1:] == [(INSTALLED, 12, der())]


async def test_an_sa_that_is_gone_without_an_event_is_announced(stand: Stand) -> None:
    """It is missing in two listings."""
    sa = spoke()
    stand.charon.up(sa)
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        del stand.charon.sas[1]
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(DESTROYING) == [11])


async def test_an_ike_sa_that_is_being_deleted_has_no_circuit(stand: Stand) -> None:
    """charon never revives it, although it retransmits to a peer that does not answer."""
    sa = spoke()
    stand.charon.up(sa)
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        sa.state = "DELETING"
        stand.charon.raise_event("ike-updown", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(DESTROYING) == [11])


async def test_a_peer_that_moves_keeps_its_circuit(stand: Stand) -> None:
    """nhrpd moves the circuit itself if it receives other addresses; destroying it would remove it."""
    await stand.came(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.move(1, "198.51.100.7")
        await until(lambda: len(nhrpd.received) == 2)
        assert nhrpd.received[1] == (INSTALLED, 11, der())
        nhrpd.initiate("dmvpn", str(HUB), "198.51.100.7")
        await until(lambda: len(nhrpd.received) == 3)
        assert nhrpd.events(DESTROYING) == []


async def test_an_sa_without_a_certificate_is_announced_without_one(stand: Stand) -> None:
    """nhrpd then asks the agent, which denies the peer; a metric counts it."""
    stand.charon.certificates = [der(name="other")]
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(spoke())
        await until(lambda: nhrpd.received)
        assert nhrpd.received == [(INSTALLED, 11, b"")]
        assert stand.telemetry.value(metrics.BRIDGE_CERTIFICATES_MISSING) >= 1


async def test_a_certificate_that_is_found_later_is_announced(stand: Stand) -> None:
    """As when the operator installs the CA's certificate later: nhrpd has it for the next registration."""
    stand.forged = [der()]
    sa = spoke()
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(sa)
        await until(lambda: nhrpd.received)
        assert nhrpd.received == [(INSTALLED, 11, b"")]
        stand.forged.clear()
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(INSTALLED) == [11, 11])
        stand.charon.up(spoke(2))
        await until(lambda: 12 in nhrpd.events(INSTALLED))
        assert nhrpd.received[1:] == [(INSTALLED, 11, der()), (INSTALLED, 12, der())]


async def test_a_certificate_found_with_another_peers_is_announced(stand: Stand) -> None:
    """Each refresh also looks for the certificates of IKE_SAs that have none."""
    stand.forged = [der()]
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(spoke())
        await until(lambda: nhrpd.received)
        stand.forged.clear()
        stand.charon.up(spoke(2))
        await until(lambda: sorted(nhrpd.events(INSTALLED)) == [11, 11, 12])
        assert (INSTALLED, 11, der()) in nhrpd.received


async def test_a_certificate_that_comes_without_an_event_is_found(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resync looks for all missing ones."""
    monkeypatch.setattr(bridge, "RESYNC_INTERVAL", 0.1)
    stand.forged = [der()]
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(spoke())
        await until(lambda: nhrpd.received)
        stand.forged.clear()
        await until(lambda: (INSTALLED, 11, der()) in nhrpd.received)


async def test_of_two_equal_certificates_the_newer_counts(stand: Stand) -> None:
    """Both are in charon's cache right after a renewal."""
    renewed = der(not_before=NOW - YEAR + timedelta(days=1))
    stand.charon.certificates = [renewed, der()]
    await stand.came(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.received == [("list-sa", 11, renewed)]


async def test_a_certificate_of_another_ca_does_not_count(stand: Stand) -> None:
    """Any peer can send one with another's subject; charon keeps it in the same cache."""
    forged = der(not_before=NOW - YEAR + timedelta(days=1))
    stand.charon.certificates, stand.forged, stand.charon.sent = [forged, der()], [forged], [forged]
    await stand.came(spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.received == [("list-sa", 11, der())]


async def test_an_identity_of_two_peers_gets_neither_certificate(stand: Stand) -> None:
    """An identity that two peers' certificates prove identifies neither."""
    one, other = (der(name=name, dns_name="gate.example.net") for name in ("spoke1", "spoke2"))
    stand.charon.certificates = [one, other]
    stand.charon.up(FakeSa(1, "203.0.113.2", "gate.example.net", children={11: "INSTALLED"}))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.received == [("list-sa", 11, b"")]


async def test_nhrpd_is_disconnected_while_charon_is_gone(stand: Stand) -> None:
    """It resets its circuits, and receives the new ones when charon is back."""
    stand.charon.up(spoke())
    async with stand.bridged():
        async with stand.nhrpd() as nhrpd:
            await stand.charon.stop()
            await until(lambda: nhrpd.closed)
            assert not stand.bridge.ready
        stand.charon.sas.clear()
        await stand.charon.start()
        async with stand.nhrpd() as nhrpd:
            assert nhrpd.received == []
            stand.charon.up(spoke(2))
            await until(lambda: nhrpd.events(INSTALLED) == [12])


async def test_no_client_is_served_while_charon_is_gone(stand: Stand) -> None:
    """An empty list of SAs would be wrong."""
    await stand.charon.stop()
    async with stand.bridged():
        nhrpd = NhrpdVici()
        await nhrpd.connect(stand.listen)
        await until(lambda: nhrpd.closed)
        assert nhrpd.answers == []
        await nhrpd.close()


async def test_garbage_from_charon_closes_the_session(stand: Stand) -> None:
    """The bridge connects again and reads everything."""
    async with stand.bridged():
        async with stand.nhrpd() as nhrpd:
            stand.charon.up(spoke(), silent=True)
            stand.charon.send_raw(b"\xff\xff\xff\xff")
            await until(lambda: nhrpd.closed)
        async with stand.nhrpd() as nhrpd:
            await until(lambda: nhrpd.received)
