"""Which of the kernel's SAs a killed charon has left."""

from dataclasses import replace
from typing import Any

import pytest

from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.kernel.xfrm import KernelPolicy, KernelSa
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NBMA, NOW, Clock
from fakes.sas import FakeKernelSas

LOCAL = NBMA - 1
STALE = KernelSa(LOCAL, NBMA, 50, "c0000001", 0, 1, int(NOW.timestamp()) - 60, keyed=True)
LISTED = IkeSa(1, "dmvpn", "ESTABLISHED", LOCAL, NBMA, 500, "", "", "1", "2",
               (ChildSa(1, "dmvpn", "INSTALLED", spi_in="c0000009", spi_out="c0000001"),))  # fmt: skip


class World:
    def __init__(self, clock: Clock, *, dry_run: bool = False) -> None:
        self.kernel = FakeKernelSas()
        self.patched: bool | None = False
        self.ike_sas: tuple[IkeSa, ...] = ()
        self.stale = StaleSas(self, self.kernel, lambda: {NBMA}, Telemetry(), clock.both, dry_run=dry_run)


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock)


@pytest.mark.parametrize(
    "other",
    [
        {"mode": 1},
        {"protocol": 51},
        {"keyed": False},
        {"source": NBMA + 7, "destination": NBMA + 8},
        {"added_at": int(NOW.timestamp()) - 1},
    ],
    ids=["tunnel mode", "AH", "being negotiated", "no peer's", "as young as one that charon will list"],
)
def test_others_are_left_alone(world: World, other: dict[str, Any]) -> None:
    """They may be another tunnel's."""
    world.kernel.present = [replace(STALE, **other)]
    world.stale.find()
    world.stale.remove(LOCAL, NBMA)
    assert len(world.kernel.present) == 1


YOUNG = {
    "just added": int(NOW.timestamp()) - 1,
    "time of day set back by a minute": int(NOW.timestamp()) + 59,
    "by a year": int(NOW.timestamp()) + 365 * 86400,
}


@pytest.mark.parametrize("added_at", YOUNG.values(), ids=YOUNG)
@pytest.mark.parametrize("listed", [False, True])
def test_one_that_looks_young_goes_when_charon_had_the_time_to_list_it(
    world: World, clock: Clock, added_at: int, listed: bool
) -> None:
    """The kernel notes the time of day at which an SA was added; that may have been set back since."""
    world.kernel.present = [replace(STALE, added_at=added_at)]
    world.stale.find()
    clock.advance(2.9)
    world.stale.remove(LOCAL, NBMA)
    assert len(world.kernel.present) == 1
    world.ike_sas = (LISTED,) if listed else ()
    clock.advance(0.1)
    world.stale.remove(LOCAL, NBMA)
    assert len(world.kernel.present) == listed


def test_one_that_is_old_goes_at_once(world: World) -> None:
    """The agent asks for an SA one second after it found none."""
    world.kernel.present = [replace(STALE, added_at=int(NOW.timestamp()) - 4)]
    world.stale.find()
    world.stale.remove(LOCAL, NBMA)
    assert world.kernel.present == []


def test_one_that_charon_lists_is_left(world: World) -> None:
    """The agent was restarted, charon was not."""
    world.kernel.present, world.ike_sas = [STALE], (LISTED,)
    world.stale.find()
    world.stale.remove(LOCAL, NBMA)
    assert world.kernel.present == [STALE]


def test_one_that_charon_lists_later_is_left(world: World) -> None:
    """While an IKE_SA is rekeyed, one listing may lack its CHILD_SAs."""
    world.kernel.present = [STALE]
    world.stale.find()
    world.ike_sas = (LISTED,)
    world.stale.remove(LOCAL, NBMA)
    assert world.kernel.present == [STALE]


def test_those_of_other_peers_go_when_they_have_noticed(world: World, clock: Clock) -> None:
    """Until then their packets arrive."""
    world.kernel.present = [STALE]
    world.stale.find()
    world.stale.remove(LOCAL, NBMA + 1)
    clock.advance(59)
    world.stale.remove_old()
    assert world.kernel.present == [STALE]
    clock.advance(1)
    world.stale.remove_old()
    assert world.kernel.present == []


def test_their_policies_go_too(world: World) -> None:
    """The kernel would request an SA with the former SPI. Other policies stay."""
    ours = KernelPolicy(LOCAL, NBMA, 47, b"1")
    others = [replace(ours, protocol=0), replace(ours, destination=NBMA + 1)]
    world.kernel.present, world.kernel.policies = [STALE], [ours, *others]
    world.stale.find()
    world.stale.remove(LOCAL, NBMA)
    assert world.kernel.policies == others


def test_the_policies_of_a_new_sa_stay(world: World, clock: Clock) -> None:
    """The peer came by itself meanwhile."""
    policy = KernelPolicy(LOCAL, NBMA, 47, b"1")
    world.kernel.present, world.kernel.policies = [replace(STALE, spi="c0000007")], [policy]
    world.stale.find()
    world.ike_sas = (LISTED,)
    clock.advance(60)
    world.stale.remove_old()
    assert (world.kernel.present, world.kernel.policies) == ([], [policy])


def test_a_patched_charon_needs_nothing(world: World) -> None:
    """It initiates by itself, and without a trap policy its policies keep GRE from leaving unencrypted."""
    world.patched = True
    world.kernel.present = [STALE]
    world.stale.find()
    world.stale.remove(LOCAL, NBMA)
    assert world.kernel.present == [STALE]


def test_a_dry_run_deletes_nothing(clock: Clock) -> None:
    """It logs what it would."""
    world = World(clock, dry_run=True)
    world.kernel.present = [STALE]
    world.stale.find()
    world.stale.remove(LOCAL, NBMA)
    assert world.kernel.present == [STALE]
