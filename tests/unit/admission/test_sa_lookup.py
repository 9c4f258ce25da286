"""Decisions by the IKE_SAs that charon has."""

import asyncio
from typing import Any

import pytest

from dmvpn_agent.admission import reauthorizer, sa_lookup
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import StaticPeer
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Source
from dmvpn_agent.x509.trust import Trust
from factories import ADDRESS, NBMA, NOW, YEAR, Clock, certificate, policy, request
from fakes.admission import WithCharon
from fakes.frr import MemoryStore
from fakes.waiting import until

GOOD = AuthorizeBinding(1, request())
OWN = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"


class TestPeersPresent:
    """The peers that have an IKE_SA with the NBMA address."""

    PSK = policy(static_peers=(StaticPeer("*@example.net", request().certificate.resources[Source.SUBJECT]),))  # type: ignore[union-attr]

    async def test_a_confirmed_certificate_is_answered_without_asking_charon(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The answer to a storm of registrations does not wait."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.show()
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 0

    async def test_charon_is_asked_about_a_peer_that_is_not_known_yet(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """It registers milliseconds after its tunnel is up."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 1

    @pytest.mark.parametrize(
        "arrives",
        [
            {},
            {"psk": True},
            {"unproven": True},
            {"name": "office"},
            {"name": "dmvpn2"},
            {"address": NBMA + 1},
        ],
        ids=["nobody", "pre-shared key", "another method", "no profile", "another profile", "another address"],
    )
    async def test_a_certificate_that_no_peer_proved_there_is_unconfirmed(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, arrives: dict[str, Any]
    ) -> None:
        """A peer that does not authenticate by certificate may choose the identity of one that does."""
        node = WithCharon(store, telemetry, clock)
        node.sas.tunnels = {"gre1": "dmvpn", "gre2": "dmvpn2"}
        if arrives:
            node.sas.arrive(1, OWN, **arrives)
        denied = await node.ask_waiting(GOOD)
        assert denied.reason is Reason.CERTIFICATE_UNCONFIRMED
        assert "by certificate" in denied.expected

    async def test_without_charon_a_certificate_is_unconfirmed(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No time-out ends in an accept."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.away = True
        assert (await node.ask_waiting(GOOD)).reason is Reason.CERTIFICATE_UNCONFIRMED

    async def test_a_charon_that_is_found_in_time_confirms(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The agent may have been started a moment ago."""
        monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.connecting = True
        node.sas.at_look(3, lambda: setattr(node.sas, "connecting", False))
        assert isinstance(await node.ask_waiting(GOOD), Accept)

    async def test_a_restart_without_charon_changes_nothing(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """An accepted peer stays until charon shows another one."""
        store.save(request())
        node = WithCharon(store, telemetry, clock)
        node.sas.away = True
        node.reauthorizer.start(Trust())
        await node.reauthorizer.rejudge()
        assert ADDRESS in node.peers

    def test_certificates_of_another_interfaces_connection_do_not_count(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """Two profiles may have CAs of their own."""
        node = WithCharon(store, telemetry, clock)
        node.sas.tunnels = {"gre1": "dmvpn", "gre2": "dmvpn2"}
        node.sas.arrive(1, OWN, name="dmvpn2")
        node.sas.certificates[1] = certificate()
        node.sas.show()
        assert node.ask(AuthorizeBinding(1, request(certificate=None))).reason is Reason.NO_CERTIFICATE

    async def test_charon_is_asked_before_a_peer_is_denied_by_an_old_read(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The peer at this address has changed a moment ago."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, "CN=stranger")
        node.sas.show()
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 1

    async def test_what_the_ike_sa_proved_counts_and_not_what_nhrpd_still_shows(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """nhrpd keeps a certificate by address; the peer may have come back with an older one, which is expired."""
        older = certificate(not_before=NOW - 2 * YEAR, not_after=NOW - YEAR)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.certificates[1] = older
        node.sas.show()
        assert (await node.ask_waiting(GOOD)).reason is Reason.CERTIFICATE_EXPIRED
        assert node.sas.looks == 1

    async def test_charon_is_asked_before_a_certificate_that_nhrpd_shows_is_passed_over(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The peer has come back with another one a moment ago."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.certificates |= {1: certificate(not_before=NOW - 2 * YEAR, not_after=NOW - YEAR), 2: certificate()}
        node.sas.show()
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        assert isinstance(await node.ask_waiting(GOOD), Accept)

    async def test_a_renewed_certificate_is_waited_for_beside_the_former_ike_sa(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bridge has shown it to nhrpd, and the agent reads it a moment later."""
        monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.arrive(2, OWN)
        node.sas.certificates[1] = certificate(not_before=NOW - 2 * YEAR, not_after=NOW - YEAR)
        node.sas.settled = False
        node.sas.show()
        node.sas.at_look(3, lambda: node.sas.certificates.update({2: certificate()}))
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 3

    @pytest.mark.parametrize("psk", [True, False], ids=["pre-shared key", "certificate"])
    async def test_a_peer_is_not_identified_by_the_last_read(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, psk: bool
    ) -> None:
        """Another peer behind the same NAT registers the peer's address as soon as the tunnel is up."""
        node = WithCharon(store, telemetry, clock, self.PSK if psk else policy())
        node.sas.arrive(1, "spoke7@example.net" if psk else OWN, psk=psk)
        node.sas.certificates |= {} if psk else {1: certificate(padding=3000)}
        node.sas.show()
        node.sas.leave(1)
        node.sas.arrive(2, "other", psk=psk, unproven=not psk)
        decision = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert decision.reason is Reason.NO_CERTIFICATE

    async def test_if_charon_does_not_answer_the_last_read_identifies_no_peer(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It answers no list-sas while it is busy with an IKE_SA, and a peer may keep it busy."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.01)
        node = WithCharon(store, telemetry, clock, self.PSK)
        node.sas.arrive(1, "spoke7@example.net", psk=True)
        node.sas.show()
        monkeypatch.setattr(node.sas, "refresh", asyncio.Event().wait)
        decision = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert decision.reason is Reason.NO_CERTIFICATE

    async def test_charon_is_asked_about_a_peer_without_certificate(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """A registration comes milliseconds after the tunnel, sooner than the next look."""
        node = WithCharon(store, telemetry, clock, self.PSK)
        node.sas.arrive(1, "spoke7@example.net", psk=True)
        assert isinstance(await node.ask_waiting(AuthorizeBinding(1, request(certificate=None))), Accept)

    async def test_without_charon_a_peer_without_certificate_is_denied(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """An unknown peer gets no other peer's identity."""
        node = WithCharon(store, telemetry, clock, self.PSK)
        node.sas.away = True
        decision = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert decision.reason is Reason.NO_CERTIFICATE

    async def test_a_peer_that_turns_out_to_be_another_is_thrown_out(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """An accepted peer is judged again when charon shows another one."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        await node.ask_waiting(GOOD)
        node.sas.leave(1)
        node.sas.arrive(2, "CN=stranger")
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert [gone.why.reason for gone in node.revoked] == [Reason.CERTIFICATE_UNCONFIRMED]

    async def test_after_a_change_of_ike_sas_all_peers_are_judged_soon(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not only at the next of the regular times."""
        monkeypatch.setattr(reauthorizer, "REJUDGE_INTERVAL", 600)
        monkeypatch.setattr(reauthorizer, "REJUDGE_AFTER_SAS", 0)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        await node.ask_waiting(GOOD)
        node.sas.leave(1)
        node.sas.arrive(2, "CN=stranger")
        node.sas.show()
        running = asyncio.create_task(node.reauthorizer.run())
        node.reauthorizer.sas_changed()
        await until(lambda: node.revoked)
        running.cancel()

    async def test_a_peer_without_news_is_left(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> None:
        """Its tunnel may be setting up again."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.show()
        await node.ask_waiting(GOOD)
        node.sas.leave(1)
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert node.revoked == []
