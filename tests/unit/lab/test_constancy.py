"""What counts as a link that went down, and as a binding asked for anew."""

import json
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dmvpn_lab import readings
from dmvpn_lab.constancy import Remember, Unchanged

Lab = Any


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A hub with nothing but its logs, and one peer."""
    for reading in ("ike_sas", "bgp_neighbors", "routes"):
        monkeypatch.setattr(readings, reading, lambda _: [])
    spoke = SimpleNamespace(protocol_addresses=(IPv4Address("10.255.0.11"),))
    scenario = SimpleNamespace(nodes={"spoke1": spoke}, outer_address=lambda _: "203.0.113.11")
    return SimpleNamespace(nodes={"hub": SimpleNamespace(logs=tmp_path)}, scenario=scenario, remembered={})


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., None]:
    """Append what the bridge logs when it tells nhrpd of these circuits: +1 installed, -1 destroying."""

    def append(*numbers: int) -> None:
        with (tmp_path / "bridge.log").open("a") as log:
            for number in numbers:
                event = "child_state_installed" if number > 0 else "child_state_destroying"
                log.write(json.dumps({"event": event, "remote": "203.0.113.11", "child_id": abs(number)}) + "\n")

    return append


@pytest.mark.parametrize(
    ("told", "true"),
    [((), True), ((2, -1), True), ((1,), True), ((2, -1, 3, -2), True), ((-1,), False), ((-1, 2), False)],
)
def test_link_is_down_without_a_circuit(
    lab: Lab, tell: Callable[..., None], told: tuple[int, ...], true: bool
) -> None:
    """A link that has a circuit at each moment is unchanged; one whose last went is not, also when another came."""
    tell(1)
    Remember("hub").perform(lab)
    tell(*told)
    assert Unchanged("hub", kinds=("links",)).observe(lab).true is true


def test_link_of_which_nothing_is_known_is_not_unchanged(lab: Lab) -> None:
    """Where the bridge told of no circuit there is nothing that could be the same."""
    Remember("hub").perform(lab)
    assert not Unchanged("hub", kinds=("links",)).observe(lab).true


def test_question_about_the_same_peer_is_a_change(lab: Lab, tmp_path: Path) -> None:
    """nhrpd asks about a peer that it had bound only when it had lost the binding."""
    line = json.dumps({"event": "binding_decided", "protocol_address": "10.255.0.11"}) + "\n"
    (tmp_path / "agent.log").write_text(line)
    Remember("hub").perform(lab)
    assert Unchanged("hub", kinds=("decisions",)).observe(lab).true
    (tmp_path / "agent.log").write_text(line * 2)
    assert not Unchanged("hub", kinds=("decisions",)).observe(lab).true
