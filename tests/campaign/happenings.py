"""What happens in a world: peers come and go, nhrpd asks, attackers try, CRLs and policies change, time passes."""

from datetime import timedelta
from math import inf
from random import Random
from typing import TYPE_CHECKING

from campaign.pki import Authority, Crl, Holder
from campaign.policies import random_policy
from campaign.trust import Trust
from campaign.world import EAP, PSK, PUBKEY, Ask, Crls, Down, Later, Reload, Restart, Sa, Up, World

if TYPE_CHECKING:
    from campaign.generate import Maker


class Happenings:
    """Appends steps to a world."""

    def __init__(self, make: "Maker", world: World, issuers: dict[str, Authority]) -> None:
        self._make, self._world, self._issuers = make, world, issuers
        self._random = make.random
        self._late = Random(world.seed)  # of its own: the seeds keep their worlds
        self._sas: list[Sa] = []
        self._number = 0
        self._now = world.now
        self._crls = world.crls
        self._trust = Trust(world.authorities, world.intermediates)

    def fill(self) -> None:
        """Let all peers come up, then let things happen."""
        for holder in self._world.holders:
            if self._make.chance(0.85):
                self.arrive(holder)
        for _ in range(self._random.choice([0, 1, 1, 2, 3, 4])):
            self._random.choice([
                self.attack, self.attack, self.attack, self.psk_peer, self.new_crls, self.later, self.reload,
                self.restart, self.leave, self.come_again, self.ask_more,
            ])()  # fmt: skip

    def _up(self, connection: str, nbma: str, identity: str, holder: Holder | None, *sent: bytes) -> Sa:
        self._number += 1
        port = 500 if self._make.chance(0.8) else 4500 + self._number
        late = 0.0
        if self._late.random() < (0.5 if self._world.beside else 0.15):
            late = self._late.choice([2.0, 3.0, 7.0, 20.0, inf, inf])
        sa = Sa(self._number, connection, nbma, port, identity, holder, late)
        self._sas.append(sa)
        self._world.steps.append(Up(sa, tuple(sent)))
        return sa

    def _interface(self) -> str:
        return self._random.choice(list(self._world.interfaces))

    def _kind(self, holder: Holder | None) -> str:
        if self._world.role == "hub":
            return "dynamic" if self._make.chance(0.95) else "nhs"
        if holder and holder.common_name.startswith("hub") and self._make.chance(0.9):
            return "nhs"
        return self._random.choice(["cached", "dynamic", "cached", "nhs"])

    def _identity(self, holder: Holder) -> str:
        if holder.hosts and (self._make.chance(0.5) or not holder.common_name):
            host = holder.hosts[0]
            return self._random.choice([host, host, host, host.upper(), "*.example"])
        return holder.text()

    def _own_address(self, holder: Holder) -> str:
        digits = "".join(char for char in holder.label if char.isdigit())
        return f"10.255.0.{digits}" if digits else "10.255.0.1"

    def _nbma(self, holder: Holder) -> str:
        return f"203.0.113.{self._own_address(holder).rpartition('.')[2]}"

    def arrive(self, holder: Holder) -> None:
        """A peer authenticates with its certificate, if charon takes it, and registers."""
        interface = self._interface()
        connection = self._world.interfaces[interface]
        rounds = self._world.connections[connection]
        if PUBKEY not in rounds:
            return self.attack() if self._make.chance(0.5) else None
        nbma = "203.0.113.99" if self._make.chance(0.08) else self._nbma(holder)
        if not self._takes(holder):
            self._world.cached.append(holder.der)  # sent, but not believed
            return None
        identity = self._identity(holder)
        if rounds[-1] != PUBKEY and self._make.chance(0.4):
            identity = self._random.choice(self._world.holders).text()  # the last round's identity, unproven
        self._up(connection, nbma, identity, holder, holder.der)
        self._ask(interface, self._own_address(holder), nbma, holder)
        return None

    def _takes(self, holder: Holder) -> bool:
        """Tell whether charon takes a certificate."""
        return self._world.takes(holder, self._now) or not self._trust.chain_fault(holder, self._now)

    def _ask(self, interface: str, address: str, nbma: str, holder: Holder | None) -> None:
        stale = None
        if self._make.chance(0.04):
            stale = self._random.choice(self._world.holders)
        kind = self._kind(holder)
        if self._world.role == "spoke" and kind == "cached" and self._make.chance(0.2):
            address = f"192.168.{address.rpartition('.')[2]}.{self._random.randrange(1, 250)}"
        self._world.steps.append(Ask(interface, kind, address, nbma, stale))

    def attack(self) -> None:
        """A peer that can authenticate in some way poses as another."""
        victim = self._random.choice(self._world.holders)
        nbma = self._nbma(victim) if self._make.chance(0.3) else f"203.0.113.{self._random.randrange(200, 204)}"
        how = self._random.random()
        address = self._own_address(victim)
        if how < 0.45:
            names = [name for name, rounds in self._world.connections.items() if rounds[0] in (PSK, EAP)]
            if names:
                identity = victim.hosts[0] if victim.hosts and self._make.chance(0.4) else victim.text()
                self._up(self._random.choice(names), nbma, identity, None, victim.der)
        elif how < 0.75:
            attacker = self._random.choice(self._world.holders)
            names = [name for name, rounds in self._world.connections.items() if PUBKEY in rounds]
            if names and self._takes(attacker):
                name = self._random.choice(names)
                identity = self._identity(attacker)
                if self._world.connections[name][-1] != PUBKEY:
                    identity = victim.text()
                self._up(name, nbma, identity, attacker, attacker.der, victim.der)
        stale = victim if self._make.chance(0.3) else None
        kind = self._kind(victim)
        self._world.steps.append(Ask(self._interface(), kind, address, nbma, stale))

    def psk_peer(self) -> None:
        """A peer with a pre-shared key comes."""
        number = self._random.randrange(50, 54)
        name = self._random.choice(list(self._world.connections))
        if PUBKEY in self._world.connections[name]:
            return
        nbma = f"203.0.113.{number}"
        identity = self._random.choice([f"p{number}@example.net", "spoke1.example", "p50@example.net"])
        self._up(name, nbma, identity, None)
        self._world.steps.append(Ask(self._interface(), self._kind(None), f"10.255.0.{number}", nbma))

    def new_crls(self) -> None:
        """The files of CRLs are others."""
        kept = [crl for crl in self._crls if self._make.chance(0.6)]
        self._crls = (*kept, self._make.crl(self._issuers, self._world.holders, self._now))
        if self._make.chance(0.3) and self._crls:
            last: Crl = self._crls[-1]
            older = Crl("older", last.signer, last.name, max(last.number - 1, 0), last.start - timedelta(hours=5),
                        last.end, ())  # fmt: skip
            self._world.steps.append(Crls(self._crls))
            self._crls = (*kept, older)
        self._world.steps.append(Crls(self._crls))

    def later(self) -> None:
        """Time passes: minutes, hours, days; or the clock is set back."""
        seconds = self._random.choice([30, 3600, 4 * 3600, 3 * 86400, 8 * 86400, -3600, -40 * 86400])
        self._now += timedelta(seconds=seconds)
        self._world.steps.append(Later(seconds))
        self.ask_more()

    def reload(self) -> None:
        """Another policy is put in force."""
        interfaces = tuple(self._world.interfaces)
        policy = random_policy(self._random, self._world.role, self._world.holders, interfaces)
        self._world.steps.append(Reload(policy))

    def restart(self) -> None:
        """The agent is restarted."""
        self._world.steps.append(Restart())

    def leave(self) -> None:
        """An IKE_SA goes."""
        if self._sas:
            sa = self._sas.pop(self._random.randrange(len(self._sas)))
            self._world.steps.append(Down(sa.number))

    def come_again(self) -> None:
        """A peer comes up, perhaps again."""
        self.arrive(self._random.choice(self._world.holders))

    def ask_more(self) -> None:
        """A peer registers again, perhaps as another."""
        if self._sas:
            sa = self._random.choice(self._sas)
            holder = sa.holder if sa.holder and self._make.chance(0.7) else self._random.choice(self._world.holders)
            self._ask(self._interface(), self._own_address(holder), sa.nbma, holder)


def fill(make: "Maker", world: World, issuers: dict[str, Authority]) -> None:
    """Append what happens to a world."""
    Happenings(make, world, issuers).fill()
