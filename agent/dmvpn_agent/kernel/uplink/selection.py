"""Which uplink the tunnels use: a state machine without I/O.

Invariants, whatever the probes say:

1. If any uplink is usable, a usable one is chosen.
2. The choice changes only if the chosen one is not usable any more, or one that is preferred to it has become usable.
3. Fewer than ``fall`` unanswered rounds in a row change nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface


@dataclass(frozen=True, slots=True)
class Condition:
    """What the kernel says about an uplink: its first address, and whether it is up and has a carrier.

    ``direct``: its packets need no gateway, because there is one host at its other end, or no ARP (PPP, WWAN).
    """

    address: IPv4Interface | None = None
    running: bool = False
    direct: bool = False

    @property
    def present(self) -> bool:
        """Tell whether it could be used, as far as the kernel knows."""
        return self.running and self.address is not None


class Health:
    """Whether an uplink works, by its probes. ``working`` is true until ``fall`` rounds in a row fail."""

    def __init__(self, fall: int, rise: int, *, working: bool = True) -> None:
        self._fall = fall
        self._rise = rise
        self._against = 0
        self.working = working

    def note(self, *, answered: bool) -> bool:
        """Note a round of probes; return whether that changed ``working``."""
        if answered == self.working:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self._fall if self.working else self._rise):
            return False
        self.working, self._against = not self.working, 0
        return True


class Selection:
    """``names``: the uplinks in the order of preference; ``probed``: those with targets.

    ``chosen`` is ``None`` until one was usable.
    """

    def __init__(self, names: Sequence[str], probed: Collection[str], fall: int, rise: int) -> None:
        self._names = names
        self._probed = probed
        self._fall, self._rise = fall, rise
        self.health = {name: Health(fall, rise) for name in names}
        self.chosen: str | None = None

    def adopt(self, name: str) -> None:
        """Begin with the uplink that the tunnels use already: another one has to prove that it works."""
        self.chosen = name
        for other in self._names:
            working = other == name or other not in self._probed
            self.health[other] = Health(self._fall, self._rise, working=working)

    def usable(self, name: str, conditions: Mapping[str, Condition]) -> bool:
        """Tell whether an uplink can carry the tunnels."""
        return conditions.get(name, Condition()).present and self.health[name].working

    def step(self, conditions: Mapping[str, Condition]) -> str | None:
        """Return the uplink to use now; ``None`` if none was usable yet."""
        self.chosen = next((name for name in self._names if self.usable(name, conditions)), self.chosen)
        return self.chosen
