"""IKE_SAs that are authenticated again: what charon refuses, and what has ended by itself."""

from collections.abc import Callable, Collection
from typing import Any

import pytest

from dmvpn_agent.charon.session import CommandFailed
from dmvpn_agent.renewal.charon_side import renew_ike_sas
from dmvpn_agent.renewal.est import EstError


def _ike_sa(number: int) -> dict[str, Any]:
    return {"dmvpn": {
        "uniqueid": str(number).encode(), "version": b"2", "state": b"ESTABLISHED", "local-host": b"192.0.2.1",
        "remote-host": f"192.0.2.{number + 1}".encode(), "local-id": b"CN=a", "remote-id": b"CN=b",
        "initiator-spi": f"{number:016x}".encode(), "responder-spi": f"{number + 100:016x}".encode(),
        "child-sas": {},
    }}  # fmt: skip


class CharonSession:
    """charon with IKE_SAs, of which it refuses to rekey some; those of ``gone`` end before the next list."""

    def __init__(self, there: Collection[int], refused: Collection[int], gone: Collection[int]) -> None:
        self.there = set(there)
        self.refused = refused
        self.gone = gone

    async def request(self, _: str, message: Any) -> Any:
        number = int(message["ike-id"])
        if number in self.refused:
            raise CommandFailed("rekey: no such task")
        return {}

    async def stream(self, _: str, __: Any, ___: str, read: Callable[[Any], Any]) -> list[Any]:
        found = [sa for number in sorted(self.there) for sa in read(_ike_sa(number))]
        self.there -= set(self.gone)
        return found


async def test_what_has_ended_by_itself_is_done() -> None:
    """charon refuses to rekey it, and nobody needs to know."""
    await renew_ike_sas(CharonSession({1, 2}, refused={1}, gone={1, 2}), frozenset({"dmvpn"}))  # type: ignore[arg-type]


async def test_what_charon_refuses_is_named_with_its_reason() -> None:
    """And not waited for."""
    session = CharonSession({1, 2}, refused={1}, gone={2})
    with pytest.raises(EstError, match=r"1 of 2 IKE_SAs .* with 192\.0\.2\.2 \(charon: rekey: no such task\)"):
        await renew_ike_sas(session, frozenset({"dmvpn"}), patience=60)  # type: ignore[arg-type]
