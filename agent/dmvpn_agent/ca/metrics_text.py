"""What a monitoring system should know of the CA, as a file for node_exporter's textfile collector."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection

from dmvpn_agent.ca.authorities import read_authorities
from dmvpn_agent.ca.crls import latest_crl
from dmvpn_agent.ca.issuing import IssuedCertificate, latest_certificates
from dmvpn_agent.ca.reading import read_nodes

#: A certificate with less time left is counted as ``expiring``.
EXPIRING = timedelta(days=30)
_STATES = ("good", "expiring", "expired", "revoked", "none")


def metrics_text(connection: Connection, now: datetime) -> str:
    """Return the registry's metrics in Prometheus' text format."""
    authorities = read_authorities(connection)
    updates = [(one.name, last.next_update) for one in authorities if (last := latest_crl(connection, one))]
    ends = [(one.name, one.certificate.not_valid_after_utc) for one in authorities]
    latest = latest_certificates(connection)
    states = Counter(_state(latest.get(node.id), now) for node in read_nodes(connection))
    lines = (
        *_times("dmvpn_ca_crl_next_update_seconds", "When the last CRL of a CA ends.", updates),
        *_times("dmvpn_ca_not_after_seconds", "When the certificate of a CA ends.", ends),
        "# HELP dmvpn_ca_nodes Nodes, by the state of their latest certificate.",
        "# TYPE dmvpn_ca_nodes gauge",
        *(f'dmvpn_ca_nodes{{certificate="{state}"}} {states[state]}' for state in _STATES),
    )
    return "\n".join((*lines, ""))


def _times(name: str, text: str, values: Iterable[tuple[str, datetime]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} gauge"
    for authority, time in values:
        yield f'{name}{{authority="{authority}"}} {int(time.timestamp())}'


def _state(certificate: IssuedCertificate | None, now: datetime) -> str:
    if certificate is None:
        return "none"
    if certificate.revoked_at is not None:
        return "revoked"
    left = certificate.not_after - now
    return "expired" if left < timedelta(0) else "expiring" if left < EXPIRING else "good"
