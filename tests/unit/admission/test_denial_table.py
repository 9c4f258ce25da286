"""Denials as they are remembered."""

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.admission import denial_table as module
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from factories import ADDRESS, NBMA, request

WHY = Deny(Reason.PROTOCOL_ADDRESS_MISMATCH, "OU GRE", "10.255.0.2", "another")


def _asked(number: int, at: int) -> BindingRequest:
    return request(protocol_address=ADDRESS + number, nbma_address=NBMA + at)


def test_a_peer_that_asks_for_many_addresses_makes_only_its_own_denials_forgotten() -> None:
    """The others are still to be ended, and to be called once they are acceptable."""
    denied = DenialTable()
    denied.add(request(), WHY)
    for number in range(module.REMEMBERED + 10):
        denied.add(_asked(number, at=1), WHY)
    assert len(denied) == module.REMEMBERED
    assert request() in denied
    assert _asked(11, at=1) in denied
    assert _asked(10, at=1) not in denied


PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 3))


@given(st.lists(st.tuples(st.booleans(), PAIRS)))
def test_what_is_noted_and_dropped_is_counted_right(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    """By NBMA address, whatever comes in whatever order."""
    denied = DenialTable()
    expected: set[tuple[int, int]] = set()
    for notes, pair in steps:
        (denied.add(_asked(*pair), WHY) if notes else denied.remove(_asked(*pair)))
        (expected.add if notes else expected.discard)(pair)
    assert {(one.request.protocol_address, one.request.nbma_address) for one in denied} == {
        (ADDRESS + number, NBMA + at) for number, at in expected
    }
    assert denied._count_at == {NBMA + at: sum(pair[1] == at for pair in expected) for _, at in expected}
