"""``explain``: a certificate, what it names, every rule, the decision, and what would follow in FRR."""

import json
from pathlib import Path

from dmvpn_agent.explain.certificate_input import InputError, read_certificate_argument
from dmvpn_agent.explain.context import load_context
from dmvpn_agent.explain.judging import Question, explain
from dmvpn_agent.explain.report_json import report_json
from dmvpn_agent.explain.report_text import report_text
from dmvpn_agent.runtime.output import complain, say

EXIT_ACCEPTED, EXIT_DENIED, EXIT_UNREADABLE = 0, 1, 2


def run(word: str, question: Question, config: Path, as_json: bool) -> int:
    """Explain one certificate; return the exit status. Raises ``ConfigError``."""
    context = load_context(config)
    try:
        given = read_certificate_argument(word)
    except InputError as error:
        complain(f"dmvpn-agent: {error}")
        return EXIT_UNREADABLE
    report = explain(given, question, context)
    say(json.dumps(report_json(report), indent=2) if as_json else report_text(report))
    return EXIT_ACCEPTED if report.accepted else EXIT_DENIED
