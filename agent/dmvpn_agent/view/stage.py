"""How far a peer has come on its way to a working tunnel: the first stage that it has not passed.

Before its traffic flows, a peer sets up an IKE_SA and a CHILD_SA with charon, registers with nhrpd, is accepted by
the agent, opens a BGP session, and announces prefixes that its filter permits.
"""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where a peer is stuck. The list is closed: it is also a metric's label."""

    #: It has no IKE_SA.
    NO_IKE = "no_ike"
    #: It has no IKE_SA because the last try failed to authenticate.
    AUTHENTICATION_FAILED = "authentication_failed"
    #: It has an IKE_SA without an installed CHILD_SA.
    NO_CHILD_SA = "no_child_sa"
    #: It has a CHILD_SA, and nhrpd has no binding for it.
    NOT_REGISTERED = "not_registered"
    #: The agent refused its binding.
    DENIED = "denied"
    #: Its BGP session is not Established.
    NO_BGP = "no_bgp"
    #: Its session is up, and nothing that it announced was accepted or filtered.
    NOTHING_ANNOUNCED = "nothing_announced"
    #: Its filter refused everything that it announced.
    FILTERED = "filtered"
    #: It has passed every stage that applies to it.
    UP = "up"
    #: It has failed no stage that could be read, but charon, nhrpd or bgpd could not be read.
    UNKNOWN = "unknown"


#: States of a BGP session besides bgpd's own: bgpd has no such neighbor; bgpd cannot be read.
NO_NEIGHBOR, SESSION_UNKNOWN = "none", "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a peer. ``None`` is what cannot be known now, because its daemon cannot be read.

    ``ike``: it has an established IKE_SA. ``authentication_failed``: charon reported that its last IKE_SA failed to
    authenticate. ``child``: a CHILD_SA of it is installed. ``bound``: nhrpd has a binding for it. ``denied``: the
    agent refused its latest binding. ``bgp``: its session is Established; ``True`` if it needs none. ``accepted`` and
    ``filtered``: whether its session has accepted, and refused, any prefix; ``accepted`` is ``True`` if the peer has
    nothing to announce.
    """

    ike: bool | None = None
    authentication_failed: bool = False
    child: bool | None = None
    bound: bool | None = None
    denied: bool = False
    bgp: bool | None = None
    accepted: bool | None = None
    filtered: bool | None = None


def stage_of(evidence: Evidence) -> Stage:
    """Return the first stage that a peer has not passed.

    A denial comes first: the agent ends the IKE_SAs of a denied peer, so that their absence follows from it. A later
    failure of the peer to authenticate counts more, because the peer does not reach nhrpd any longer.
    """
    if evidence.ike is False and evidence.authentication_failed:
        return Stage.AUTHENTICATION_FAILED
    if evidence.denied:
        return Stage.DENIED
    for passed, stage in (
        (evidence.ike, Stage.NO_IKE),
        (evidence.child, Stage.NO_CHILD_SA),
        (evidence.bound, Stage.NOT_REGISTERED),
        (evidence.bgp, Stage.NO_BGP),
    ):
        if passed is False:
            return stage
    if evidence.accepted is False:
        return Stage.FILTERED if evidence.filtered else Stage.NOTHING_ANNOUNCED
    if None in {evidence.ike, evidence.child, evidence.bound, evidence.bgp, evidence.accepted}:
        return Stage.UNKNOWN
    return Stage.UP
