"""How denied peers lose their IKE_SAs."""

from dataclasses import replace

import pytest

from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.enforcement import metrics as enforcement_metrics
from dmvpn_agent.enforcement.enforcer import HARMLESS
from dmvpn_agent.policy.reasons import Reason
from enforcing import REVOKED, Node
from factories import ADDRESS, NBMA, request


class TestDenied:
    """IKE_SAs of denied peers."""

    async def test_it_is_ended_and_gone(self, node: Node) -> None:
        """And counted by the reason."""
        node.present()
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == [1]
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "gone") == 1

    async def test_it_is_left_where_the_operator_says_so(self, node: Node) -> None:
        """``ike.end_denied = false``."""
        node.present()
        node.denied.add(request(), REVOKED)
        node.enforcer.reload(ends_denied=False)
        await node.enforcer.enforce()
        assert node.sas.ended == []

    @pytest.mark.parametrize("reason", sorted(HARMLESS))
    async def test_a_denial_of_the_question_ends_nothing(self, node: Node, reason: Reason) -> None:
        """The tunnel carries what was accepted."""
        node.present()
        node.denied.add(request(), replace(REVOKED, reason=reason))
        await node.enforcer.enforce()
        assert node.sas.ended == []

    async def test_another_peer_behind_the_same_address_is_left(self, node: Node) -> None:
        """Only the one whose certificate was denied goes."""
        node.present(1)
        node.present(2, "CN=neighbour")
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == [1]

    async def test_a_peer_that_asks_for_too_much_keeps_what_it_has(self, node: Node) -> None:
        """A second address that is denied does not cost the first."""
        node.present()
        node.accept(request())
        node.denied.add(
            request(protocol_address=ADDRESS + 5), replace(REVOKED, reason=Reason.PROTOCOL_ADDRESS_MISMATCH)
        )
        await node.enforcer.enforce()
        assert node.sas.ended == []

    async def test_a_peer_without_certificate_is_known_by_its_ike_identity(self, node: Node) -> None:
        """Without an IKE identity, it is the only peer at the address."""
        node.present(1, "spoke7@example.net")
        node.denied.add(request(certificate=None), replace(REVOKED, reason=Reason.NO_CERTIFICATE))
        await node.enforcer.enforce()
        assert node.sas.ended == [1]

    async def test_of_two_unknown_ones_none_is_guessed(self, node: Node) -> None:
        """Either could be the wrong one."""
        node.present(1, "spoke7@example.net")
        node.present(2, "spoke8@example.net")
        node.denied.add(request(certificate=None), replace(REVOKED, reason=Reason.NO_CERTIFICATE))
        await node.enforcer.enforce()
        assert node.sas.ended == []

    async def test_who_comes_back_is_ended_less_and_less_often(self, node: Node) -> None:
        """The trap policy brings the tunnel up again at once."""
        node.denied.add(request(), REVOKED)
        ended = []
        for seconds in (0, 4, 1, 9, 1):
            node.clock.advance(seconds)
            if not list(node.sas.our_sas()):
                node.present()
            await node.enforcer.enforce()
            ended.append(len(node.sas.ended))
        assert ended == [1, 1, 2, 2, 3]

    async def test_all_ike_sas_of_a_peer_are_ended_together(self, node: Node) -> None:
        """Both sides may have set up one."""
        node.present(1)
        node.present(2)
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == [1, 2]

    async def test_charon_is_read_once_for_all_that_are_ended(self, node: Node) -> None:
        """Listing a thousand SAs after each of a hundred would take charon seconds."""
        for number in range(1, 101):
            address = NBMA + number
            node.present(number, address=address)
            node.denied.add(request(nbma_address=address, protocol_address=ADDRESS + number), REVOKED)
        await node.enforcer.enforce()
        assert len(node.sas.ended) == 100
        assert node.sas.looks == 1
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "gone") == 100

    async def test_one_that_charon_keeps_is_tried_again(self, node: Node) -> None:
        """Sending terminate does not prove that the IKE_SA is gone."""
        node.present()
        node.sas.stubborn = True
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "failed") == 1
        node.sas.stubborn = False
        node.clock.advance(5)
        await node.enforcer.enforce()
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "gone") == 1

    async def test_charon_away_ends_nothing_and_raises_nothing(self, node: Node) -> None:
        """There will be another pass."""
        node.present()
        node.sas.away = True
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == []


def test_the_latest_denials_are_remembered() -> None:
    """Anything that reaches the node can be denied; memory is bounded."""
    denied = DenialTable()
    for number in range(1500):
        denied.add(request(nbma_address=NBMA + number), REVOKED)
    assert len(denied) == 1000
    assert next(iter(denied)).request.nbma_address == NBMA + 500


async def test_a_failed_invitation_keeps_no_denied_peer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass begins with the denied peers."""
    monkeypatch.setattr(node.enforcer, "_readmit", lambda _: 1 / 0)
    node.present()
    node.denied.add(request(), REVOKED)
    node.denied.readmit(request(protocol_address=ADDRESS + 1, nbma_address=NBMA + 1))
    with pytest.raises(ZeroDivisionError):
        await node.enforcer.enforce()
    assert node.sas.ended == [1]
