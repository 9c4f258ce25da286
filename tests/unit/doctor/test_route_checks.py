"""The doctor's checks of the routes of NBMA addresses and of rp_filter."""

from dataclasses import replace

import pytest

from dmvpn_agent.doctor.check import Level
from dmvpn_agent.doctor.node import SOMEWHERE, NbmaRoute, Unknown
from unit.doctor.test_doctor import SOUND, _problems

ROUTE = NbmaRoute("up1", "192.0.2.9", "203.0.113.1", "up1")


@pytest.mark.parametrize(
    ("route", "problems"),
    [
        (ROUTE, {}),
        (replace(ROUTE, leaves_by="up0"), {"packets from 192.0.2.9": Level.WARNING}),
        (replace(ROUTE, leaves_by=""), {"packets from 192.0.2.9": Level.WARNING}),
        (replace(ROUTE, leaves_by="", far=str(SOMEWHERE)), {}),
        (replace(ROUTE, is_refused=True), {"packets to 192.0.2.9": Level.FAULT}),
    ],
    ids=["sound", "another uplink", "no route", "no default route, and no host is known", "rp_filter"],
)
def test_packets_of_an_nbma_address_use_its_interface(route: NbmaRoute, problems: dict[str, Level]) -> None:
    """In both directions."""
    found = _problems(replace(SOUND, nbma_routes=(route,)))
    assert {name: check.level for name, check in found.items()} == problems


@pytest.mark.parametrize(("value", "names"), [(0, []), (1, ["rp_filter of gre1"]), (2, [])])
def test_a_strict_rp_filter_on_a_tunnel_is_a_warning(value: int, names: list[str]) -> None:
    """Packets come by other ways than answers go."""
    assert list(_problems(replace(SOUND, rp_filters={"gre1": value, "eth0": 1}))) == names


def test_what_cannot_be_read_is_no_success() -> None:
    """It is named."""
    node = replace(SOUND, nbma_routes=Unknown("no ip"), rp_filters=Unknown("no /proc"))
    assert set(_problems(node)) == {"routes of NBMA addresses", "rp_filter"}
