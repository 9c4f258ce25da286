"""The bridge's own VICI command: by which certificate did the peers of these IKE_SAs authenticate?

The agent asks it (``BridgeCertificates``). The request lists the SPIs (``IkeSa.spis``); before its answer the bridge
sends an event for each IKE_SA that it has looked at, with an empty certificate if it found none.
"""

from collections.abc import Iterator, Sequence

from dmvpn_agent.charon.vici import Section, ViciError, text

COMMAND = "list-sa-certs"
EVENT = "list-sa-cert"
#: IKE_SAs of one request: what a busy bridge has answered in time is not lost.
MAX_SAS = 100


def request(spis: Sequence[str]) -> Section:
    """Return the request about at most ``MAX_SAS`` IKE_SAs."""
    return {"sas": list(spis)}


def requested(message: Section) -> Iterator[str]:
    """Yield the SPIs of a request; what is no list has none."""
    values = message.get("sas", ())
    for one in values if isinstance(values, list) else ():
        yield one.decode("ascii", "replace")


def verdict(spis: str, certificate: bytes) -> Section:
    """Return the event about one IKE_SA."""
    return {"spis": spis, "certificate": certificate}


def read_verdict(message: Section) -> Iterator[tuple[str, bytes]]:
    """Yield SPIs and certificate (DER) of an event. Raises ``ViciError``."""
    certificate = message.get("certificate")
    if not isinstance(certificate, bytes):
        raise ViciError(f"{EVENT} without certificate")
    yield text(message, "spis"), certificate
