"""The prefixes that the filter of an accepted peer permits, for people: by address family, as FRR evaluates it."""

from collections.abc import Iterator

from dmvpn_agent.addresses import Network, overlap
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import list_name
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.policy.peer import Peer

_FAMILIES = {4: "IPv4", 6: "IPv6"}


def filter_summary(peer: Peer, bgp: BgpSettings | None) -> str:
    """Return the prefixes that bgpd accepts from a peer, in a few words for each address family."""
    if peer.quarantined:
        return "in quarantine: it gets no BGP neighbor"
    if bgp is None or peer.as_number is None:
        return "this node runs no BGP with it"
    wanted = desired([peer], bgp)
    if not wanted.neighbors:
        return "this node has BGP sessions with its hubs only"
    families = (
        f"{family}: {_family(peer, wanted.prefix_lists.get(list_name(peer.protocol_address, version)), version)}"
        for version, family in _FAMILIES.items()
    )
    return f"its filter permits {'; '.join(families)}"


def _family(peer: Peer, entries: frozenset[Entry] | None, version: int) -> str:
    if entries is None:
        return "nothing (bgp.ipv6 is false)"
    permits = sorted((entry for entry in entries if entry.permit), key=lambda entry: (entry.prefix, entry.le or 0))
    if not permits:
        return "nothing"
    withheld = [
        network for network in peer.withheld
        if network.version == version and any(overlap(network, entry.prefix) for entry in permits)
    ]  # fmt: skip
    return ", ".join(map(_words, permits)) + "".join(_exceptions(withheld, permits))


def _words(entry: Entry) -> str:
    longer = f" and its subnets up to /{entry.le}" if entry.le else ""
    return f"{entry.prefix}{longer}"


def _exceptions(withheld: list[Network], permits: list[Entry]) -> Iterator[str]:
    if any(entry.ge for entry in permits):
        yield ", but no default route"
    if withheld:
        yield f", and nothing that overlaps {', '.join(map(str, withheld))}"
