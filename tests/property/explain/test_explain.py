"""Any input can be explained."""

import json
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from dmvpn_agent.config.file import load
from dmvpn_agent.explain.certificate_input import InputError, decode_certificate
from dmvpn_agent.explain.context import JudgingContext
from dmvpn_agent.explain.judging import Question, explain
from dmvpn_agent.explain.report_json import report_json
from dmvpn_agent.explain.report_text import report_text
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.x509.trust import Trust
from factories import NOW, der

DATA = Path(__file__).parents[2] / "data" / "explain"
CONFIG = load(DATA / "agent.toml")
CONTEXT = JudgingContext(CONFIG, Judge(CONFIG.policy, Trust()), ())
UNIT = st.text(max_size=20) | st.builds(
    "{}={}{}".format,
    st.sampled_from(["GRE", "AS", "NET"]),
    st.sampled_from(["10.255.0.2", "64512", "192.168.2.0/24", "::1", ""]),
    st.text(max_size=3),
)
WHOLE = [der(), (DATA / "dmvpn-ca.der").read_bytes(), (DATA / "spoke.pem").read_bytes()]


def _explained(data: bytes) -> None:
    """Check that the text is printable, the JSON valid, and the decision the Judge's."""
    try:
        shown = decode_certificate(data, "here")
    except InputError:
        return  # the operator gets the error text
    report = explain(shown, Question(NOW), CONTEXT)
    assert all(line.isprintable() for line in report_text(report).split("\n"))
    assert json.dumps(report_json(report))
    for answer in report.answers:
        decision = CONTEXT.judge.decide(answer.request, NOW)
        assert answer.accepted is isinstance(decision, Accept)
        assert answer.accepted is all(check.passed for check in answer.explanation.checks)


@given(st.lists(UNIT.filter(lambda text: 0 < len(text.encode()) <= 64), max_size=5))
@example(["GRE=10.255.0.2", "AS=64512", "NET=192.168.2.0/24"])
@example(["GRE=10.255.0.2\n", "AS=64512\x1b[2J", "NET=192.168.2.0/24\u202e"])
def test_any_text_in_a_certificate_can_be_explained(units: list[str]) -> None:
    """Control characters, homoglyphs and direction marks are printed escaped."""
    _explained(der(tuple(units)))


@given(st.sampled_from(WHOLE), st.integers(0, 5000), st.binary(max_size=3))
def test_a_damaged_certificate_can_be_explained(whole: bytes, place: int, damage: bytes) -> None:
    """Damaged DER and PEM are explained."""
    place %= len(whole)
    _explained(whole[:place] + damage + whole[place + len(damage) :])


@given(st.binary(max_size=200) | st.text("0123456789abcdef:\n", max_size=200).map(str.encode))
def test_any_bytes_can_be_explained_or_are_refused(data: bytes) -> None:
    """No other exception is raised."""
    _explained(data)
