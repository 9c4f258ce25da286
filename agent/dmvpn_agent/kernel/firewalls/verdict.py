"""Which rule drops a packet, as far as the rules alone say it.

A rule may test properties that are not known of the packet: the address of a peer, a mark, a named set. Such a rule
that drops is passed over, because it drops some packets only. After one that accepts, a drop is not certain any more,
and is not reported. So what is reported holds for every packet of the flow.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dmvpn_agent.kernel.firewalls.rules import Chain, Drop, Packet, Rule, Table, Verdict

#: Rules that are looked at for a packet, before that is given up: chains may jump to one another in many ways.
MAX_RULES = 200_000
#: The kernel's own limit of nested jumps is 16.
_DEPTH = 32


class TooManyRules(Exception):
    """There are more rules than can be followed."""


@dataclass(frozen=True, slots=True)
class _End:
    """What became of a packet in a chain.

    ``verdict``: ``ACCEPT``, ``DROP`` by ``drop``, or ``RETURN`` if the chain ended. ``unsure``: a rule before may
    have accepted the packet.
    """

    verdict: Verdict
    unsure: bool = False
    drop: Drop | None = None


def find_drop(tables: Iterable[Table], packet: Packet) -> Drop | None:
    """Return what drops each packet of this kind, ``None`` if nothing certainly does. Raises ``TooManyRules``."""
    bases = [
        (chain.priority, table, name)
        for table in tables
        if packet.version in table.versions
        for name, chain in table.chains.items()
        if chain.hook
    ]
    walk = _Walk(packet)
    for hook in packet.hooks:
        for _, table, name in sorted(bases, key=lambda base: base[0]):
            chain = table.chains[name]
            if chain.hook == hook and (drop := walk.base(table, name, chain)):
                return drop
    return None


class _Walk:
    def __init__(self, packet: Packet) -> None:
        self._packet = packet
        self._left = MAX_RULES

    def base(self, table: Table, name: str, chain: Chain) -> Drop | None:
        """Return what drops the packet in a chain of a hook, its policy too."""
        end = self._chain(table, name, 0)
        if end.verdict is Verdict.RETURN and chain.drops_rest:
            end = _End(Verdict.DROP, end.unsure, Drop(table, name, "policy drop"))
        return end.drop if end.verdict is Verdict.DROP and not end.unsure else None

    def _chain(self, table: Table, name: str, depth: int) -> _End:
        unsure, chain = False, table.chains.get(name)
        if chain is None or depth > _DEPTH:
            return _End(Verdict.RETURN, unsure=True)
        for rule in chain.rules:
            self._left -= 1
            if self._left < 0:
                raise TooManyRules
            matches = rule.matches(self._packet)
            if matches is False or rule.verdict is Verdict.CONTINUE:
                continue
            end = self._rule(rule, table, name, depth)
            goes_on = end.verdict is Verdict.RETURN and rule.verdict is Verdict.JUMP
            if matches and not goes_on:
                return _End(end.verdict, unsure or end.unsure, end.drop)
            # A packet that a doubtful rule drops is no reason to report; one that it lets go its own way may pass.
            unsure |= end.unsure or (not goes_on and end.verdict is not Verdict.DROP)
        return _End(Verdict.RETURN, unsure)

    def _rule(self, rule: Rule, table: Table, chain: str, depth: int) -> _End:
        if rule.verdict in {Verdict.JUMP, Verdict.GOTO}:
            return self._chain(table, rule.target, depth + 1)
        return _End(rule.verdict, drop=Drop(table, chain, rule.text) if rule.verdict is Verdict.DROP else None)
