"""All output to a terminal is printable, whatever the content of certificates, identities, files and sockets."""

import io
import json
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.admission.decision_record import DecisionRecord, describe
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, parse_event
from dmvpn_agent.admission.recording import outcome, write
from dmvpn_agent.cli import doctor, history, peer, peers, sas, status
from dmvpn_agent.cli.main import main
from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.document import RequestError, document
from dmvpn_agent.runtime.log_settings import Log
from dmvpn_agent.runtime.output import complain, say, say_lines
from dmvpn_agent.view.health import peer_counts
from dmvpn_agent.view.history import Entry, EntryKind
from dmvpn_agent.view.join import join
from dmvpn_agent.view.peer_json import peer_details, peer_summary
from factories import NOW, certificate, decide, event
from joining import denial, sa, sources
from unit.cli.test_replay import CONFIG, GOOD
from unit.cli.test_sas import ONE, OTHER
from unit.cli.test_sas import _state as sas_state
from unit.view.test_status_text import _state as status_state

CONTROLS = [
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\x9b31m",
    "\r",
    "\n",
    "\t",
    "\x00",
    "\u202e",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\x85",
]
HOSTILE = st.lists(st.sampled_from([*CONTROLS, "\ud800", "ü", "日", "x"]), min_size=1, max_size=4).map("".join)
#: Keys whose values are parsed.
PARSED = ("_at", "_due", "expires", "time", "last_", "since", "stage", "expected")


def printed(run: Callable[[], object]) -> str:
    """Return the output to both streams, which must be lines of printable characters."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        run()
    text = out.getvalue() + err.getvalue()
    assert text.replace("\n", "").isprintable(), text
    text.encode()
    return text


def lines(run: Callable[[], object]) -> int:
    return printed(run).count("\n")


def _hostile(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, str):
        return value if key.endswith(PARSED) or key.startswith("last_") else value + text
    if isinstance(value, dict):
        return {name: _hostile(item, text, name) for name, item in value.items()}
    return [_hostile(item, text, key) for item in value] if isinstance(value, list) else value


def _asked(command: Callable[[], int], state: object) -> Callable[[], object]:
    async def answer(*_: object) -> object:
        return document("x/1", json.loads(json.dumps(state)))

    def run() -> int:
        with patch("dmvpn_agent.cli.client.ask", answer):
            return command()

    return run


def _arguments(as_json: bool) -> Namespace:
    return Namespace(
        socket=Path("control.sock"),
        config=Path(),
        json=as_json,
        no_color=False,
        **{"peers": (), "peer": "x", "sort": "stage"},
        **dict.fromkeys(("down", "stage", "expiring", "since", "denied", "limit")),
    )


STATUS = status_state(
    trust={"authorities": ["CN=CA"], "problems": ["x.crl: no CRL"],
           "fetches": [{"url": "http://ca/a.crl", "succeeded": None, "trouble": "no route"}],
           "crls": [{"issuer": "CN=CA", "revoked": 1, "next_update": "2026-03-08T12:00:00+00:00"}]},
    nhrpd={"connected": True, "trouble": "nhrpd said"},
)  # fmt: skip
SAS = sas_state(ONE, OTHER)


PEERS = join(sources(1, 2, sas=(sa(1),), denials=(denial(3),)))
ENTRY = Entry(1, NOW, EntryKind.STAGE, "up", "spoke1", "was denied", ("10.255.0.1",)).as_json()
ANSWERS: list[tuple[Callable[[Namespace], int], Any]] = [
    (status.run, STATUS),
    (sas.run, SAS),
    (peers.run, {"counts": peer_counts(PEERS), "peers": [peer_summary(one, NOW) for one in PEERS]}),
    *((peer.run, {"peer": peer_details(one, NOW), "history": [ENTRY]}) for one in PEERS),
    (history.run, {"entries": [ENTRY]}),
]


@given(HOSTILE, st.booleans(), st.sampled_from(ANSWERS))
def test_what_the_agent_answers(text: str, as_json: bool, asked: tuple[Callable[[Namespace], int], Any]) -> None:
    """No text in the agent's answer controls the terminal or adds a line."""
    command, state = asked
    run = partial(command, _arguments(as_json))
    assert lines(_asked(run, _hostile(state, text))) == lines(_asked(run, state))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_an_answer_of_another_version(data: st.DataObject) -> None:
    """With missing parts or other types: the command prints one line and raises nothing."""

    def changed(value: Any) -> Any:
        if data.draw(st.integers(0, 20)) == 0:
            return data.draw(ODD)
        if isinstance(value, dict):
            return {key: changed(item) for key, item in value.items() if data.draw(st.integers(0, 30))}
        return [changed(item) for item in value] if isinstance(value, list) else value

    command, state = data.draw(st.sampled_from(ANSWERS))

    def run() -> None:
        with suppress(RequestError):
            _asked(partial(command, _arguments(False)), changed(state))()

    printed(run)


@given(HOSTILE)
def test_doctor(text: str) -> None:
    """It shows the output of other programs."""

    def checks(word: str) -> list[Check]:
        return [Check(f"name{word}", level, f"found{word}", f"expected{word}", f"do{word}") for level in Level]

    def show(word: str) -> int:
        return lines(lambda: say("\n".join(doctor.render(checks(word)))))

    assert show(text) == show("")


@given(HOSTILE)
def test_replay_and_compare(tmp_path_factory: Any, text: str) -> None:
    """Recordings, certificates and file names may come from anywhere."""
    folder = tmp_path_factory.mktemp("output")
    (folder / "agent.toml").write_text(CONFIG)
    line = json.loads(write(GOOD))
    odd = [{**line, "time": text}, {**line, "v": text}, {**line, "message": line["message"] + "\n" + text}, text,
           {**line, "outcome": {"reason": text}}, {**line, "ike_peers": [[text, True]]}]  # fmt: skip
    (folder / "recording").write_text("".join(json.dumps(one) + "\n" for one in odd))
    config = ("--config", str(folder / "agent.toml"))

    def run(*words: object) -> None:
        argv = [*map(str, words), *config]
        assert printed(lambda: main(argv))
        assert printed(lambda: main([*argv, "--json"]))

    run("replay", folder / "recording")
    name = text.replace("/", "").replace("\0", "").replace("\ud800", "\udcff")
    (folder / "certificates").mkdir()
    (folder / "certificates" / f"x{name}").write_bytes(certificate().der)
    (folder / "certificates" / f"y{name}").write_text("-----BEGIN " + text.replace("\ud800", ""))
    run("explain", "--compare", folder / "certificates")
    run("explain", folder / "certificates" / f"x{name}")
    assert printed(lambda: main(["check", "--config", str(folder / f"absent{name}")]))


@given(HOSTILE, HOSTILE)
def test_events_of_nhrpd_and_charon(text: str, other: str) -> None:
    """With hostile text in any field, an event is judged or denied, and its log line in the console is printable."""
    ascii_text = text.encode("ascii", "ignore").decode().replace("\n", "")
    for field in ("interface", "remote_addr", "remote_nbma", "type", "local_nbma"):
        found = parse_event(event(1, **{field: f"fe80::1%{ascii_text}"})[:-2])
        if isinstance(found, AuthorizeBinding):
            judged = DecisionRecord(NOW, found.request, decide(found.request))
            _logged("binding_decided", **describe(judged))
            json.dumps(describe(judged))
    _logged("anything", identity=text, names=[text, {other: text}], why=ValueError(text), event_name=other)
    assert outcome(decide(replace(GOOD_REQUEST, interface=text))).reason


GOOD_REQUEST = replace(
    parse_event(event(1)[:-2]).request,  # type: ignore[union-attr]
    binding_type=BindingType.DYNAMIC,
)


def _logged(name: str, **values: object) -> None:
    log = structlog.get_logger()
    before = structlog.get_config()

    def run() -> None:
        logs.set_up(Log(level="info", format="console"))
        try:
            log.warning(name, **values)
            try:
                raise ValueError(str(values))
            except ValueError:
                log.exception(name, **values)
        finally:
            structlog.configure(**before)

    printed(run)


@given(HOSTILE)
def test_the_output_functions(text: str) -> None:
    """For any text."""
    assert lines(lambda: say_lines([text, text])) == 2
    assert lines(lambda: say_lines([])) == 0
    assert lines(lambda: complain(text)) == 1
    printed(lambda: say(text))
    _logged("exception", text=text)


def test_a_terminal_with_another_encoding() -> None:
    """Other characters are escaped; nothing is raised."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with redirect_stdout(stream):
        say("Zürich")
    stream.seek(0)
    assert stream.read() == "Z\\xfcrich\n"
