"""Every reason has advice."""

import re

import pytest

from dmvpn_agent.policy.advice import ADVICE
from dmvpn_agent.policy.reasons import Reason

#: No change of the operator makes nhrpd's own bookkeeping a peer's binding.
WITHOUT_REMEDY = {Reason.UNEXPECTED_BINDING_TYPE}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_plain_sentence_and_a_remedy(reason: Reason) -> None:
    """The sentence completes "denied because …" and does not repeat the reason's name."""
    advice = ADVICE[reason]
    assert re.fullmatch(r"[a-z].*[^.]", advice.because)
    assert str(reason) not in advice.because
    assert bool(advice.remedies) is (reason not in WITHOUT_REMEDY)
