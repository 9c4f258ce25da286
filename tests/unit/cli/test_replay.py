"""``replay``: a recording, judged by another policy."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, parse_event
from dmvpn_agent.admission.recording import MAX_LINE_BYTES, Recorded, outcome, write
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.cli import replay
from dmvpn_agent.cli.main import main
from dmvpn_agent.policy.decision import Decision, Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason
from documented import assert_documented
from factories import NOW, POLICY, YEAR, decide, der, event, spoke

CONFIG = """\
role = "hub"
[bgp]
as_number = 65000
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
max_prefix_length = 26
ca_certificates = []
"""

Output = pytest.CaptureFixture[str]


def message(*units: str, **changes: str) -> bytes:
    der_hex = der(units).hex() if units else None
    return event(1, der_hex, **changes).removesuffix(b"\n\n")


def recorded(
    message: bytes,
    time: datetime = NOW,
    decision: Decision | None = None,
    ike_peers: frozenset[IkePeer] | None = None,
) -> Recorded:
    """Return an event as recorded, decided by the tests' policy by default."""
    if decision is None:
        asked = parse_event(message)
        assert isinstance(asked, AuthorizeBinding)
        decision = decide(replace(asked.request, ike_peers=ike_peers), POLICY, time)
    return Recorded(time, message, ike_peers, outcome(decision))


GOOD = recorded(message())
IMPOSTOR = recorded(message("GRE=10.255.0.20", "AS=64512"))


class Replayed:
    """Replays lines with the tests' configuration and additional keys."""

    def __init__(self, folder: Path, capsys: Output) -> None:
        self._recording, self._config = folder / "recording", folder / "agent.toml"
        self._capsys = capsys

    def __call__(self, lines: Sequence[bytes | Recorded], special: str = "", *options: str) -> tuple[int, str]:
        self._recording.write_bytes(b"".join(line if isinstance(line, bytes) else write(line) for line in lines))
        self._config.write_text(CONFIG + special + "\n")
        status = main(["replay", str(self._recording), "--config", str(self._config), *options])
        return status, self._capsys.readouterr().out

    def json(self, lines: Sequence[bytes | Recorded], special: str = "") -> tuple[int, Any]:
        status, text = self(lines, special, "--json")
        return status, json.loads(text)["data"]


@pytest.fixture
def replayed(tmp_path: Path, capsys: Output) -> Replayed:
    return Replayed(tmp_path, capsys)


def test_the_same_policy_decides_the_same(replayed: Replayed) -> None:
    """Accepts, denials and malformed events; exit status 0."""
    unreadable = recorded(b"eventid=1\nevent=dance", decision=Deny(Reason.MALFORMED_EVENT, "event", "x", "y"))
    host = recorded(message(remote_addr="172.16.0.1"))
    assert replayed([GOOD, IMPOSTOR, unreadable, host]) == (0, "4 events: 4 same.\n")


@pytest.mark.parametrize(
    ("event", "special", "change", "before", "after"),
    [
        (GOOD, 'as_numbers = ["65001"]', "accept to deny", "spoke, AS 64512, 192.168.2.0/24 to /26",
         "as_number_not_allowed: AS=64512"),
        (IMPOSTOR, '[[policy.peer]]\nidentity = "*spoke1"\noverride = true\nprotocol_addresses = ["10.255.0.2"]\n'
         "as_number = 64999", "deny to accept", "protocol_address_mismatch: GRE=10.255.0.20",
         "spoke, AS 64999, nothing"),
        (IMPOSTOR, '[[policy.maintenance]]\naction = "deny"\nidentity = "*spoke1"', "other reason",
         "protocol_address_mismatch: GRE=10.255.0.20", "denied_by_maintenance: deny of identity *spoke1"),
        (GOOD, "[policy.spoke]\nmax_prefix_length = 25", "other resources",
         "spoke, AS 64512, 192.168.2.0/24 to /26", "spoke, AS 64512, 192.168.2.0/24 to /25"),
        (GOOD, '[[policy.maintenance]]\naction = "quarantine"\nidentity = "*spoke1"', "other resources",
         "spoke, AS 64512, 192.168.2.0/24 to /26", "spoke, quarantine, nothing"),
    ],
    ids=["accept to deny", "deny to accept", "other reason", "longer prefixes", "quarantine"],
)  # fmt: skip
def test_a_changed_decision_is_shown(
    event: Recorded, special: str, change: str, before: str, after: str, replayed: Replayed
) -> None:
    """Exit status 1; with the peer and both outcomes."""
    status, result = replayed.json([event], special)
    assert (status, result["different"], result["totals"]) == (1, True, {change: 1})
    (shown,) = result["changes"]
    assert (shown["change"], shown["before"], shown["after"]) == (change, before, after)
    assert shown["protocol_address"] == "10.255.0.2"
    assert shown["subject"].endswith("CN=spoke1")


def test_the_same_change_is_one_row(replayed: Replayed) -> None:
    """With the number of events and the first and last time."""
    events = [replace(GOOD, time=NOW + timedelta(hours=number)) for number in range(3)]
    _, text = replayed(events, 'as_numbers = ["65001"]')
    header, row, empty, totals = text.splitlines()
    assert header.split() == ["CHANGE", "EVENTS", "FIRST", "(UTC)", "PEER", "BEFORE", "NOW", "SUBJECT"]
    assert row.startswith("accept to deny  3       2026-03-01 12:00:00  10.255.0.2  spoke, AS 64512,")
    assert (empty, totals) == ("", "3 events: 3 accept to deny.")
    assert replayed.json(events, 'as_numbers = ["65001"]')[1]["changes"][0]["last"] == "2026-03-01T14:00:00+00:00"


def test_events_are_judged_at_their_time(replayed: Replayed) -> None:
    """A certificate that has since expired was valid then."""
    assert replayed([GOOD, recorded(message(), NOW + 2 * YEAR)]) == (0, "2 events: 2 same.\n")


def test_events_are_judged_with_the_recorded_ike_peers(replayed: Replayed) -> None:
    """The recording has the peers that had an IKE_SA."""
    unconfirmed = recorded(message(), ike_peers=frozenset({IkePeer("CN=other", True)}))
    assert unconfirmed.outcome.reason is Reason.CERTIFICATE_UNCONFIRMED
    assert replayed([unconfirmed]) == (0, "1 events: 1 same.\n")
    assert replayed([unconfirmed], "confirm_certificates = false")[0] == 1


def test_a_conflict_stays_unless_the_newer_peer_takes_over(replayed: Replayed) -> None:
    """The recording has the conflict, but not the other peer."""
    conflict = recorded(message(), decision=Deny(Reason.PREFIX_CONFLICT, "prefixes", "192.168.2.0/24", "a free one"))
    assert replayed([conflict])[0] == 0
    status, result = replayed.json([conflict], 'on_conflict = "take_over"')
    assert (status, result["totals"]) == (1, {"deny to accept": 1})


def test_a_damaged_line_is_named_and_skipped(replayed: Replayed) -> None:
    """A line that is too long too; the other lines are judged."""
    lines: list[bytes | Recorded] = [b"not JSON\n", GOOD, b"x" * (3 * MAX_LINE_BYTES) + b"\n", GOOD, write(GOOD)[:50]]
    status, text = replayed(lines)
    assert status == 0
    assert text.splitlines() == [
        "line 1 is skipped: not JSON",
        f"line 3 is skipped: longer than {MAX_LINE_BYTES} bytes",
        "line 5 is skipped: not JSON",
        "",
        "2 events: 3 damaged, 2 same.",
    ]
    assert [one["line"] for one in replayed.json(lines)[1]["damaged"]] == [1, 3, 5]


def test_an_empty_recording_has_no_events(replayed: Replayed) -> None:
    """Exit status 0."""
    assert replayed([]) == (0, "No events.\n")


def test_a_missing_recording_exits_2(tmp_path: Path, capsys: Output) -> None:
    """The message names it."""
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG)
    assert main(["replay", str(tmp_path / "x"), "--config", str(config)]) == 2
    assert capsys.readouterr().err == f"dmvpn-agent: {tmp_path / 'x'}: cannot be read: No such file or directory\n"


def test_a_long_recording_shows_progress(
    replayed: Replayed, capsys: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On standard error, in percent."""
    monkeypatch.setattr(replay, "PROGRESS_INTERVAL", 0.0)
    (tmp_path / "agent.toml").write_text(CONFIG)
    (tmp_path / "recording").write_bytes(write(GOOD) * 512)
    assert main(["replay", str(tmp_path / "recording"), "--config", str(tmp_path / "agent.toml")]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["dmvpn-agent: 256 events, 50 %", "dmvpn-agent: 512 events, 100 %"]
    assert captured.out == "512 events: 512 same.\n"


def test_a_recorded_accept_has_the_resources_of_the_decision() -> None:
    """Replay compares everything that the agent would write to FRR."""
    peer: Peer = spoke(2)
    entitled = GOOD.outcome.entitled
    assert entitled is not None
    assert (entitled.prefixes, entitled.max_prefix_length) == (peer.prefixes, peer.max_prefix_length)
    assert ip_address("10.255.0.2") == peer.protocol_address


def test_the_document_is_documented(replayed: Replayed) -> None:
    """With a change and a damaged line; the kinds of changes are not keys of the schema."""
    _, result = replayed.json([GOOD, b"damaged\n"], 'as_numbers = ["65001"]')
    assert_documented("replay/1", result, opaque={"totals"})
