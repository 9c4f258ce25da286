"""Changes to FRR in words, for the log and for operators."""

from collections.abc import Iterator

from dmvpn_agent.bgp.neighbors import Neighbor
from dmvpn_agent.bgp.plan import (
    AddEntry,
    Change,
    RefreshInbound,
    RemoveEntry,
    RemoveList,
    RemoveNeighbor,
    SetNeighbor,
)


def describe(change: Change) -> str:
    """Return a change as one printable line that starts with the prefix-list or neighbor."""
    text = _describe(change)
    # Text in FRR's configuration may have any source.
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _describe(change: Change) -> str:
    match change:
        case AddEntry(name, seq, entry):
            return f"prefix-list {name}: add {entry} (seq {seq})"
        case RemoveEntry(name, seq, entry):
            return f"prefix-list {name}: remove {entry} (seq {seq})"
        case RemoveList(name):
            return f"prefix-list {name}: remove it"
        case SetNeighbor(neighbor, before):
            what = "add it" if change.is_new else "change it"
            return f"neighbor {neighbor.address}: {what}: {', '.join(_differences(neighbor, before))}"
        case RemoveNeighbor(address):
            return f"neighbor {address}: remove it, which ends its session"
        case RefreshInbound(address):
            return f"neighbor {address}: apply its changed filters to its routes, without resetting its session"


def _differences(neighbor: Neighbor, before: Neighbor) -> Iterator[str]:
    for name, now, was in (
        ("AS", neighbor.as_number, before.as_number),
        ("peer-group", neighbor.peer_group, before.peer_group),
        ("filter", neighbor.prefix_list, before.prefix_list),
        ("IPv6 filter", neighbor.prefix_list_ipv6, before.prefix_list_ipv6),
        ("maximum-prefix", neighbor.maximum_prefix, before.maximum_prefix),
        ("IPv6 maximum-prefix", neighbor.maximum_prefix_ipv6, before.maximum_prefix_ipv6),
        ("weight", neighbor.weight, before.weight),
        ("IPv6 weight", neighbor.weight_ipv6, before.weight_ipv6),
        ("description", neighbor.description, before.description),
    ):
        if now != was:
            yield f"{name} {'none' if now is None else now}" + (f" (was {was})" if was is not None else "")
    if neighbor.activates_ipv6 != before.activates_ipv6:
        yield "with IPv6 prefixes" if neighbor.activates_ipv6 else "without IPv6 prefixes"
