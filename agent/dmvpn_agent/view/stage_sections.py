"""What was found of a peer at each stage on its way to a working tunnel: for ``peer`` and the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from dmvpn_agent.view.spans import counted, short_span, size
from dmvpn_agent.view.stage import SESSION_UNKNOWN, Stage

#: Peers that one text names.
_NAMED = 8


class SectionState(StrEnum):
    """Whether the peer is beyond what a section describes."""

    PASSED = "passed"
    #: It is stuck here.
    FAILED = "failed"
    #: It is stuck before this, or it cannot be told.
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Section:
    """``title``: of the section. ``text``: what was found."""

    title: str
    state: SectionState
    text: str


def sections(peer: dict[str, Any], now: datetime) -> tuple[Section, ...]:
    """Return the sections of a peer of the document ``peers`` or ``peer``, in the order of the stages."""
    stage = Stage(peer["stage"])
    # The agent ends the IKE_SAs of a denied peer: what comes before the decision tells nothing.
    state = SectionState.OPEN if stage in {Stage.UNKNOWN, Stage.DENIED} else SectionState.PASSED
    made = []
    for title, failing, text in _found(peer, now):
        here = stage in failing
        made.append(Section(title, SectionState.FAILED if here else state, text))
        state = SectionState.OPEN if here else state
    return tuple(made)


def _found(peer: dict[str, Any], now: datetime) -> Iterator[tuple[str, tuple[Stage, ...], str]]:
    """Yield each section: its title, the stages that fail in it, and what was found."""
    ike = peer["ike"]
    yield (
        "IKE", (Stage.NO_IKE, Stage.AUTHENTICATION_FAILED),
        f"{ike['state'].lower()} for {short_span(ike['established_at'], now)}, {ike['algorithms'] or 'no algorithms'}"
        + (", behind NAT" if peer["nat"] else "")
        if ike else _lacking(peer, "no IKE_SA") + _last_failure(peer, now),
    )  # fmt: skip
    children = ike["children"] if ike else 0
    traffic = peer["traffic"]
    yield (
        "ESP", (Stage.NO_CHILD_SA,),
        f"{counted(children, 'CHILD_SA')}{_newest(peer, now)}, {ike['child_algorithms']};"
        f" {size(traffic['bytes_in'])} in, {size(traffic['bytes_out'])} out"
        if children else _lacking(peer, "no CHILD_SA") + (_last_failure(peer, now) if ike else ""),
    )  # fmt: skip
    yield "registration", (Stage.NOT_REGISTERED,), _registration(peer, now)
    yield "decision", (Stage.DENIED,), _decision(peer, now)
    yield "BGP", (Stage.NO_BGP,), _session(peer)
    yield "prefixes", (Stage.NOTHING_ANNOUNCED, Stage.FILTERED), _prefixes(peer)
    if peer["shortcuts"]:
        yield "shortcuts", (), ", ".join(peer["shortcuts"])


def _last_failure(peer: dict[str, Any], now: datetime) -> str:
    """Return how long ago charon reported a failure; an agent from before this key does not send it."""
    at = peer.get("alerted_at")
    return f"; the last attempt failed {short_span(at, now)} ago" if at else ""


def _newest(peer: dict[str, Any], now: datetime) -> str:
    """Return the age of the newest CHILD_SA; the document ``peers`` does not have it."""
    times = [child["installed_at"] for sa in peer.get("ike_sas", ()) for child in sa["children"]]
    newest = max(filter(None, times), default=None)
    return f", the newest for {short_span(newest, now)}" if newest else ""


def _lacking(peer: dict[str, Any], text: str) -> str:
    """Return a text that says what a peer lacks, unless that is not known because a daemon cannot be read."""
    return "not known" if peer["stage"] == Stage.UNKNOWN else text


def _registration(peer: dict[str, Any], now: datetime) -> str:
    bindings = peer["bindings"]
    if not bindings:
        return "never, as far as the agent knows"
    return "; ".join(
        f"{one['protocol_address']} at {one['nbma_address']}"
        + (f" ({one['type']})" if one["type"] else ", not bound")
        + (f" for {short_span(one['absent_since'], now)}" if one["absent_since"] else "")
        for one in bindings
    )


def _decision(peer: dict[str, Any], now: datetime) -> str:
    if peer["denial"]:
        when = f" {short_span(peer['decided_at'], now)} ago" if peer["decided_at"] else ""
        return f"denied{when}: {peer['denial']['reason']}"
    if peer["accepted"]:
        return "accepted, in quarantine: it gets no BGP neighbor" if peer["quarantined"] else "accepted"
    return "none: nhrpd has not asked"


def _session(peer: dict[str, Any]) -> str:
    if bgp := peer["bgp"]:
        state = "not known, because bgpd cannot be read" if bgp["state"] == SESSION_UNKNOWN else bgp["state"]
        return f"{bgp['neighbor']} is {state}"
    if peer["quarantined"]:
        return peer["why"] if peer["stage"] == Stage.UP else "the agent wants no neighbor while it is in quarantine"
    if not peer["accepted"]:
        return _lacking(peer, "no neighbor, because the peer is not accepted")
    return _lacking(peer, "the node runs no BGP with it")


def _prefixes(peer: dict[str, Any]) -> str:
    bgp = peer["bgp"]
    if not bgp:
        return "none"
    filtered = f", {bgp['filtered']} filtered" if bgp["filtered"] is not None else ""
    counts = "not known" if bgp["state"] == SESSION_UNKNOWN else f"{bgp['accepted']} accepted{filtered}"
    text = f"{counts}; may announce {', '.join(bgp['allowed']) or 'nothing'}"
    if others := bgp.get("drops_prefixes_of"):  # an agent from before this key does not send it
        text += (
            f"; drops those of {', '.join(others[:_NAMED])}{' …' * (len(others) > _NAMED)}: they have its AS number"
        )
    return text
