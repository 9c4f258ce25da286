"""How peers that are acceptable again are called back."""

from dataclasses import replace

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon import metrics as charon_metrics
from dmvpn_agent.enforcement import metrics as enforcement_metrics
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.kernel.xfrm import KernelSa
from dmvpn_agent.policy.request import BindingType
from enforcing import REVOKED, Node
from factories import ADDRESS, NBMA, NOW, request
from fakes.hubs import LOCAL


class TestReadmitted:
    """Peers that were denied and would be accepted now."""

    ASKED = request(local_nbma_address=LOCAL)

    async def test_one_with_an_ike_sa_loses_it_so_that_it_asks_again(self, node: Node) -> None:
        """Its nhrpd registers as soon as the tunnel is back."""
        node.present()
        node.denied.readmit(self.ASKED)
        await node.enforcer.enforce()
        assert (node.sas.ended, node.sas.initiated) == ([1], [])

    async def test_one_that_is_denied_each_time_it_asks_is_called_ever_less_often(self, node: Node) -> None:
        """nhrpd shows a certificate that it kept from before: the peer would be accepted by the one it has."""
        number = 0
        for _ in range(600):
            if not node.sas.sas_at(NBMA):
                number += 1
                node.present(number)
                node.denied.add(self.ASKED, REVOKED)
                node.denied.readmit(self.ASKED)
            await node.enforcer.enforce()
            node.clock.advance(1)
        assert node.sas.ended == [1, 2, 3, 4, 5, 6, 7]  # after 0, 5, 10, 20, 40, 80, 160 and 320 s more

    async def test_one_that_asks_meanwhile_is_not_called(self, node: Node) -> None:
        """It came by itself, while it waited for its turn, and was accepted."""
        for number in (1, 2):
            node.present(number)
            node.denied.readmit(self.ASKED)
            await node.enforcer.enforce()
        assert node.sas.ended == [1]
        node.accept(self.ASKED)
        node.clock.advance(60)
        await node.enforcer.enforce()
        assert node.sas.ended == [1]

    async def test_one_without_is_invited(self, node: Node) -> None:
        """charon had refused it; it would try again in half an hour."""
        node.denied.readmit(self.ASKED)
        await node.enforcer.enforce()
        assert node.sas.initiated == [(LOCAL, NBMA)]
        assert node.telemetry.value(charon_metrics.INVITATIONS, "sent") == 1

    async def test_it_is_called_until_it_comes(self, node: Node) -> None:
        """The kernel asks charon for nothing while an earlier attempt stands in it."""
        node.denied.readmit(self.ASKED)
        calls = []
        for seconds in (0, 4, 1, 9, 1):
            node.clock.advance(seconds)
            await node.enforcer.enforce()
            calls.append(len(node.sas.initiated))
        assert calls == [1, 1, 2, 3, 3]
        node.present()
        node.clock.advance(60)
        await node.enforcer.enforce()
        assert len(node.sas.initiated) == 3

    async def test_where_charon_is_away_a_pass_calls_only_one(self, node: Node) -> None:
        """Each call may take seconds to fail, and the next pass has denied peers to end."""
        node.sas.away = True
        node.denied.readmit(self.ASKED)
        node.denied.readmit(replace(self.ASKED, protocol_address=ADDRESS + 1, nbma_address=NBMA + 1))
        await node.enforcer.enforce()
        assert node.telemetry.value(charon_metrics.INVITATIONS, "failed") == 1
        node.sas.away = False
        await node.enforcer.enforce()
        assert node.sas.initiated == [(LOCAL, NBMA + 1)]

    async def test_what_goes_wrong_with_one_is_not_the_end_of_the_others(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are called at the next pass, after the part was started again."""
        node.denied.readmit(self.ASKED)
        node.denied.readmit(replace(self.ASKED, protocol_address=ADDRESS + 1, nbma_address=NBMA + 1))
        with monkeypatch.context() as patch:
            patch.setattr(node.sas, "sas_of", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await node.enforcer.enforce()
        await node.enforcer.enforce()
        assert node.sas.initiated == [(LOCAL, NBMA + 1)]

    async def test_it_is_not_called_for_ever(self, node: Node) -> None:
        """It may be switched off."""
        node.denied.readmit(self.ASKED)
        for _ in range(100):
            node.clock.advance(60)
            await node.enforcer.enforce()
        assert 10 < len(node.sas.initiated) < 20

    async def test_an_invitation_that_fails_is_counted(self, node: Node) -> None:
        """The peer comes back by itself, later."""
        node.sas.away = True
        node.denied.readmit(self.ASKED)
        await node.enforcer.enforce()
        assert node.telemetry.value(charon_metrics.INVITATIONS, "failed") == 1


class TestLostWithCharon:
    """Peers whose IKE_SA went with a charon that was killed."""

    ASKED = request(local_nbma_address=LOCAL)

    async def _calls(self, node: Node) -> list[tuple[Address, Address]]:
        node.lost.check()
        await node.reconnections.connect()
        return node.sas.initiated

    async def test_the_hub_calls_them(self, node: Node) -> None:
        """They notice by themselves only after dead peer detection."""
        node.accept(self.ASKED)
        assert await self._calls(node) == [(LOCAL, NBMA)]

    async def test_one_that_has_an_ike_sa_is_not_called(self, node: Node) -> None:
        """The agent was restarted, charon was not."""
        node.accept(self.ASKED)
        node.present()
        assert await self._calls(node) == []

    async def test_once_for_each_start_of_charon(self, node: Node) -> None:
        """A peer that was switched off is not called for ever."""
        node.accept(self.ASKED)
        for _ in range(300):
            await self._calls(node)
            node.clock.advance(1)
        before = len(node.sas.initiated)
        assert 10 < before < 20
        node.sas.sessions += 1
        assert len(await self._calls(node)) == before + 1

    async def test_before_charon_has_its_connection_nobody_is_called(self, node: Node) -> None:
        """It would refuse, and the kernel would request nothing for half a minute."""
        node.accept(self.ASKED)
        node.sas.loaded = False
        assert await self._calls(node) == []
        assert node.sas.looks == 1
        node.sas.loaded = True
        node.clock.advance(1)
        assert await self._calls(node) == [(LOCAL, NBMA)]

    async def test_one_behind_nat_comes_by_itself(self, node: Node) -> None:
        """Nothing reaches it before its own first packet."""
        node.accept(self.ASKED)
        node.present(nat_remote=True)
        await self._calls(node)
        node.sas.leave(1)
        node.sas.show()
        node.sas.sessions += 1
        assert await self._calls(node) == []

    async def test_one_that_is_denied_meanwhile_is_not_called(self, node: Node) -> None:
        """Its IKE_SA would be ended at once."""
        node.accept(self.ASKED)
        node.lost.check()
        node.denied.add(self.ASKED, REVOKED)
        await node.reconnections.connect()
        assert node.sas.initiated == []

    async def test_a_hub_that_this_node_registers_with_is_not_called_here(self, node: Node) -> None:
        """``HubSas`` asks for its IKE_SA."""
        node.accept(replace(self.ASKED, binding_type=BindingType.NHS))
        assert await self._calls(node) == []

    async def test_a_hub_that_registers_here_and_is_registered_with_is_asked_for_once(self, node: Node) -> None:
        """``HubSas`` asks, also where the binding is the other hub's registration, of type ``dynamic``."""
        node.nhrpd_hubs.hubs = [Hub("gre1", NBMA)]
        await node.registrations.check()
        node.accept(self.ASKED)
        assert await self._calls(node) == []
        node.clock.advance(1)
        await node.registrations.check()
        assert node.sas.initiated == [(LOCAL, NBMA)]

    async def test_a_thousand_are_called_ten_at_a_time(self, node: Node) -> None:
        """Each has to authenticate."""
        for number in range(1000):
            asked = replace(self.ASKED, protocol_address=ADDRESS + number, nbma_address=NBMA + number)
            node.reconnections.add(asked)
        for called in (10, 20, 30):
            await node.reconnections.connect()
            assert len(set(node.sas.initiated)) == called

    async def test_the_kernels_sas_of_the_killed_charon_are_deleted_first(self, node: Node) -> None:
        """The kernel would send by them, and request none from the new one."""
        node.accept(self.ASKED)
        stale = KernelSa(LOCAL, NBMA, 50, "c0000001", 0, 1, int(NOW.timestamp()) - 60, keyed=True)
        node.kernel.present = [stale, replace(stale, source=NBMA, destination=LOCAL, spi="c0000002")]
        assert await self._calls(node) == [(LOCAL, NBMA)]
        assert node.kernel.present == []
        assert node.telemetry.value(enforcement_metrics.STALE_SAS, "deleted") == 2

    async def test_where_the_kernels_sas_cannot_be_read_peers_are_called_all_the_same(self, node: Node) -> None:
        """A native charon needs no packet to start."""
        node.accept(self.ASKED)
        node.kernel.broken = True
        assert await self._calls(node) == [(LOCAL, NBMA)]
        assert node.telemetry.value(enforcement_metrics.STALE_SAS, "failed") == 1
