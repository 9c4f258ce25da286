"""Groups of peers, and the operator's rules over which of them may talk to each other."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dmvpn_agent.addresses import Network

#: In a rule, in place of a group: everybody.
ANY = "*"


@dataclass(frozen=True, slots=True)
class Group:
    """The peers that match one of these, and the networks named here.

    ``subjects``: shell patterns for the certificate's subject as in RFC 4514, or the IKE identity of a peer without a
    certificate; ``units``: OUs of a certificate's subject; ``labels``: shell patterns for the peer's label.
    """

    name: str
    subjects: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def has(self, subject: str, label: str, *, certified: bool) -> bool:
        """Tell whether a peer with this subject and label is in it; ``certified``: it has a certificate.

        An IKE identity is the peer's own text, so no part of it is an OU. A comma or plus in a value is written in
        hexadecimal in a certificate's subject.
        """
        attributes = re.split("[,+]", subject) if certified else ()
        return (
            any(fnmatchcase(subject, pattern) for pattern in self.subjects)
            or any(f"OU={unit}" in attributes for unit in self.units)
            or any(fnmatchcase(label, pattern) for pattern in self.labels)
        )


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Whether packets between two groups pass, in both directions; ``ANY`` is everybody."""

    between: tuple[str, str]
    accept: bool

    def applies(self, one: tuple[str, ...], other: tuple[str, ...]) -> bool:
        """Tell whether it decides about packets between members of these groups."""
        first, second = self.between
        return (_is(first, one) and _is(second, other)) or (_is(first, other) and _is(second, one))

    def __str__(self) -> str:
        return f"between {self.between[0]} and {self.between[1]}: {'accept' if self.accept else 'drop'}"


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups and the rules in their order; the first that applies decides, else ``accept``."""

    groups: tuple[Group, ...] = ()
    rules: tuple[GroupRule, ...] = ()
    accept: bool = True

    @property
    def in_force(self) -> bool:
        """Tell whether anything can be dropped by them."""
        return bool(self.rules) or not self.accept

    def of_peer(self, subject: str, label: str, *, certified: bool = True) -> tuple[str, ...]:
        """Return the names of a peer's groups."""
        return tuple(group.name for group in self.groups if group.has(subject, label, certified=certified))

    def rule(
        self, one: tuple[str, ...], other: tuple[str, ...], *, restricted: bool = False
    ) -> tuple[int, GroupRule] | None:
        """Return the rule that decides about packets between members of these groups, with its number from 1.

        ``restricted``: one of them is a peer in quarantine or denied; then no rule accepts.
        """
        rules = ((at, rule) for at, rule in enumerate(self.rules, 1) if not (restricted and rule.accept))
        return next(((at, rule) for at, rule in rules if rule.applies(one, other)), None)


def _is(name: str, groups: tuple[str, ...]) -> bool:
    return name == ANY or name in groups
