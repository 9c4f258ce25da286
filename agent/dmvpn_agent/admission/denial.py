"""A denied request."""

from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.request import BindingRequest


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that was denied, why, and when."""

    request: BindingRequest
    why: Deny
    at: datetime | None = None
