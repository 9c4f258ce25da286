"""From a certificate to a decision, without a socket: as in the Alpine guide, and as dmvpn-ca makes them."""

import gc
import time
from collections.abc import Callable
from statistics import median

from certificates import (
    BLOCKS,
    COMMON_NAME,
    NUMBERS,
    SUBJECT_ALT_NAME,
    alternatives,
    attribute,
    bits,
    blocks,
    extension,
    integer,
    name,
    numbers,
)
from certificates import der as certificate_der
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.trust import Trust
from factories import ADDRESS, NOW, POLICY, der, request

ROUNDS = 3000


def _median(work: Callable[[], None]) -> float:
    """Return the median of many runs, in microseconds."""
    spent = []
    gc.disable()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    gc.enable()
    return median(spent) * 1e6


def _row(name: str, data: bytes) -> tuple[object, ...]:
    asked = request(certificate=read_certificate(data))
    known = Judge(POLICY, Trust())
    if not isinstance(known.decide(asked, NOW), Accept):
        raise SystemExit(f"{name}: not accepted: {known.decide(asked, NOW)}")

    def first() -> None:
        asked = request(certificate=read_certificate(data))
        Judge(POLICY, Trust()).decide(asked, NOW)

    def again() -> None:
        known.decide(asked, NOW)

    return name, f"{_median(lambda: _read(data)):.0f}", f"{_median(first):.0f}", f"{_median(again):.1f}"


def _read(data: bytes) -> None:
    read_certificate(data)


def main() -> None:
    """Measure and print one table."""
    dmvpn_ca = certificate_der(
        name(attribute(COMMON_NAME, "spoke1")),
        (
            extension(SUBJECT_ALT_NAME, alternatives((7, ADDRESS.packed))),
            extension(BLOCKS, blocks(bits(0, "c0a802")), critical=True),
            extension(NUMBERS, numbers(integer(64512)), critical=True),
        ),
    )
    rows = [_row("subject OUs", der()), _row("subjectAltName, RFC 3779", dmvpn_ca)]
    print(f"from a certificate to a decision: microseconds, median of {ROUNDS}")
    print(table(("RESOURCES IN", "READING", "FIRST SIGHT", "REPEATED"), rows))
