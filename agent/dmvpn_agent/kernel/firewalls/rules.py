"""Values for the rules of any packet filter, and for a packet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto


class Field(StrEnum):
    """The property that a condition tests. ``OTHER``: one that is unknown here, such as a peer's address."""

    VERSION = "version"
    RECEIVED_BY = "received by"
    SENT_BY = "sent by"
    PROTOCOL = "protocol"
    PORT = "destination port"
    STATE = "state"
    STATUS = "status"
    IPSEC = "IPsec"
    DESTINATION = "kind of destination"
    OTHER = "other"


class Verdict(Enum):
    """What a rule does with a packet that it matches. ``CONTINUE``: nothing that matters here."""

    CONTINUE = auto()
    ACCEPT = auto()
    DROP = auto()
    RETURN = auto()
    JUMP = auto()
    GOTO = auto()


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow. ``port``: its destination port, ``None`` if its protocol has none.

    ``received_by`` is empty if this node sends it, ``sent_by`` if this node is its destination. ``ipsec``: IPsec has
    protected it, or will.
    """

    version: int
    protocol: int
    received_by: str = ""
    sent_by: str = ""
    port: int | None = None
    ipsec: bool = False

    @property
    def hooks(self) -> tuple[str, ...]:
        """Return the hooks that it passes, in order."""
        if not self.received_by:
            return ("output", "postrouting")
        return ("prerouting", "forward", "postrouting") if self.sent_by else ("prerouting", "input")

    def value(self, what: Field) -> str | int | None:
        """Return what a condition sees; ``None`` if the packet has no such thing."""
        values: dict[Field, str | int | None] = {
            Field.VERSION: self.version,
            Field.RECEIVED_BY: self.received_by or None,
            Field.SENT_BY: self.sent_by or None,
            Field.PROTOCOL: self.protocol,
            Field.PORT: self.port,
            Field.STATE: "new",
            Field.STATUS: None,
            Field.IPSEC: int(self.ipsec),
            Field.DESTINATION: "unicast" if self.sent_by else "local",
        }
        return values[what]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule. ``values``: one of them must fit; a text that ends in ``*`` fits all that begin so."""

    field: Field
    values: tuple[str | int | range, ...] = ()
    negated: bool = False

    def holds(self, packet: Packet) -> bool | None:
        """Tell whether it holds; ``None`` if unknown properties decide."""
        if self.field is Field.OTHER:
            return None
        value = packet.value(self.field)
        if value is None:
            return False
        return any(_fits(one, value) for one in self.values) != self.negated


def _fits(wanted: str | int | range, value: str | int) -> bool:
    if isinstance(wanted, range):
        return value in wanted
    if isinstance(wanted, str) and wanted.endswith("*"):
        return str(value).startswith(wanted[:-1])
    return wanted == value


#: A condition of which nothing is known.
UNKNOWN = Condition(Field.OTHER)


@dataclass(frozen=True, slots=True)
class Rule:
    """``target``: the chain of a jump. ``text``: how an operator finds the rule."""

    conditions: tuple[Condition, ...]
    verdict: Verdict
    text: str
    target: str = ""

    def matches(self, packet: Packet) -> bool | None:
        """Tell whether all conditions hold; ``None`` if unknown properties decide."""
        answers = [condition.holds(packet) for condition in self.conditions]
        return False if False in answers else None if None in answers else True


@dataclass(frozen=True, slots=True)
class Chain:
    """``hook`` is empty for a chain that others jump to. Chains of a hook come in the order of ``priority``."""

    rules: tuple[Rule, ...] = ()
    hook: str = ""
    priority: int = 0
    drops_rest: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The chains that can jump to one another. ``versions``: the IP versions whose packets it sees.

    ``name``: as ``inet firewalld``, ``iptables filter``.
    """

    name: str
    versions: frozenset[int]
    chains: Mapping[str, Chain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """The rule or policy that drops a packet, in which table and chain."""

    table: Table
    chain: str
    rule: str

    def __str__(self) -> str:
        return f"{self.table.name}, chain {self.chain}: {self.rule}"
