"""Names of peers: one word for each, unique among all, and as far as possible the label in its certificate."""

from collections.abc import Iterable, Iterator, Mapping

from dmvpn_agent.view.drafts import Draft


def peer_names(drafts: Iterable[Draft], held: Mapping[str, str]) -> dict[str, str]:
    """Return a name for each draft, by its key; ``held``: the names that peers have already.

    A certificate can name anything, so that two peers may have one label. Configured peers come first, then those
    that were ever accepted, then the rest: nobody can take an accepted peer's name. Of equals, the one that holds the
    name keeps it. The others have their address, and if need be a number, after the label.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    ordered = sorted(drafts, key=lambda draft: (_rank(draft), held.get(draft.key) != _base(draft), draft.key))
    for draft in ordered:
        name = next(word for word in _candidates(draft) if word not in taken)
        taken.add(name)
        names[draft.key] = name
    return names


def _rank(draft: Draft) -> int:
    if draft.configured:
        return 0
    return 1 if draft.members or draft.known else 2


def _base(draft: Draft) -> str:
    if draft.configured:
        return draft.configured.name
    return draft.label or (draft.known.name if draft.known else "") or _address(draft) or "unknown"


def _address(draft: Draft) -> str:
    return str(next(iter(draft.protocol_addresses or draft.nbma_addresses), ""))


def _candidates(draft: Draft) -> Iterator[str]:
    base = _base(draft)
    yield base
    yield f"{base}-{draft.interface}"
    for address in draft.protocol_addresses or draft.nbma_addresses:
        yield f"{base}-{address}"
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1
