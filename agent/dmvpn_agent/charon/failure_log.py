"""Finds in charon's log why an IKE_SA or its CHILD_SA failed, for a charon without alerts (strongSwan before 6.0.3).

The texts are those of strongSwan 5.9 and 6.0: ``ike_init.c``, ``ike_cert_post.c``, ``credential_manager.c``,
``revocation_validator.c``, ``constraints_validator.c``, ``message.c``, ``ike_auth.c``, ``child_create.c``.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import NamedTuple

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.vici import Section, ViciError, number, text

#: IKE_SAs being set up that are remembered; beyond that the oldest are forgotten, because anybody can begin one.
REMEMBERED = 1000

#: What a message means, by a part of its text, as the alerts of later versions name it.
CAUSES = {
    "no issuer certificate found for": "cert-no-issuer",
    "certificate invalid (valid from": "cert-expired",
    "certificate was revoked on": "cert-revoked",
    "is not trusted": "cert-untrusted-root",
    "violates constraint": "cert-exceeded-path-len",
}
PEER_FAILED, OWN_FAILED = "peer-auth-failed", "local-auth-failed"
#: Why a CHILD_SA was not set up, by how the message begins.
CHILD_CAUSES = {
    "no acceptable proposal found": "proposal-mismatch-child",
    "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA": "proposal-mismatch-child",
    "traffic selectors ": "ts-mismatch",
    "received TS_UNACCEPTABLE notify": "ts-mismatch",
}
NO_PROPOSAL = "proposal-mismatch-ike"
KINDS = (*CAUSES.values(), PEER_FAILED, OWN_FAILED, NO_PROPOSAL, *dict.fromkeys(CHILD_CAUSES.values()))

_RESPONDER, _INITIATOR = re.compile(r"(\S+) is initiating an? "), re.compile(r"initiating IKE_SA .* to (\S+)$")
_SEARCH, _SENT, _NOTIFY = "looking for peer configs matching ", "generating ", "N(AUTH_FAILED)"
_RECEIVED, _OVER = "received AUTHENTICATION_FAILED notify", " established between "
_REFUSED = ("received proposals unacceptable", "received NO_PROPOSAL_CHOSEN notify error")
_NO_CHILD = "failed to establish CHILD_SA"
_READ = (" is initiating a", "initiating IKE_SA", _SEARCH, _NOTIFY, _RECEIVED, _OVER, *_REFUSED, _NO_CHILD)
_MARKS = re.compile(b"|".join(re.escape(mark.encode()) for mark in (*_READ, *CAUSES, *CHILD_CAUSES)))


class Failure(NamedTuple):
    """A failure: why, at which NBMA address, and the identity that the peer claimed, if any."""

    kind: str
    address: Address
    identity: str


@dataclass(frozen=True, slots=True)
class _Begun:
    address: Address
    identity: str = ""
    cause: str = ""
    established: bool = False


def may_matter(packet: bytes) -> bool:
    """Tell whether a packet has a message that ``FailureLog`` reads: few do, so the others are not decoded."""
    return _MARKS.search(packet) is not None


class FailureLog:
    """Follows each IKE_SA from its first message until it, or its CHILD_SA, has failed.

    A text may quote what a peer sent, so only its beginning, or a part in a message of charon's own, counts. The
    address is the one that charon logs before it reads anything of the peer's.
    """

    def __init__(self) -> None:
        self._begun: OrderedDict[int, _Begun] = OrderedDict()

    def read(self, message: Section) -> Failure | None:
        """Read a ``log`` event; return the failure that it ends an IKE_SA with."""
        try:
            key = number(message, "ikesa-uniqueid")
        except ViciError:
            return None  # about no IKE_SA
        group, said = text(message, "group"), text(message, "msg")
        if group == "IKE" and (begun := _RESPONDER.match(said) or _INITIATOR.match(said)):
            self._begin(key, begun[1])
        elif (one := self._begun.get(key)) is not None:
            return self._of_child(key, one, group, said) if one.established else self._of_ike(key, one, group, said)
        return None

    def _of_ike(self, key: int, one: _Begun, group: str, said: str) -> Failure | None:
        if group == "ENC" and said.startswith(_SENT) and _NOTIFY in said:
            return self._end(key, one.cause or PEER_FAILED)
        if group == "IKE" and said.startswith(_RECEIVED):
            return self._end(key, OWN_FAILED)
        if group == "IKE" and said.startswith(_REFUSED):
            return self._end(key, NO_PROPOSAL)
        if group == "IKE" and said.startswith("IKE_SA ") and _OVER in said:
            self._begun[key] = replace(one, cause="", established=True)
        elif group == "CFG" and said.startswith(_SEARCH):
            self._begun[key] = replace(one, identity=said.partition(f"]...{one.address}[")[2].removesuffix("]"))
        elif cause := _cause(said):
            self._begun[key] = replace(one, cause=one.cause or cause)
        return None

    def _of_child(self, key: int, one: _Begun, group: str, said: str) -> Failure | None:
        if group != "IKE":
            return None
        if one.cause and said.startswith(_NO_CHILD):
            return self._end(key, one.cause)
        if cause := next((kind for start, kind in CHILD_CAUSES.items() if said.startswith(start)), ""):
            self._begun[key] = replace(one, cause=cause)
        return None

    def _begin(self, key: int, address: str) -> None:
        try:
            self._begun[key] = _Begun(ip_address(address))
        except ValueError:
            return
        self._begun.move_to_end(key)
        if len(self._begun) > REMEMBERED:
            self._begun.popitem(last=False)

    def _end(self, key: int, kind: str) -> Failure:
        one = self._begun.pop(key)
        return Failure(kind, one.address, one.identity)


def _cause(said: str) -> str:
    """Return the cause that a message names outside of what it quotes."""
    bare = re.sub(r'["\'].*["\']', "", said)
    return next((kind for mark, kind in CAUSES.items() if mark in bare), "")
