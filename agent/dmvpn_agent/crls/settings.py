"""Where CRLs are fetched from, and to whom they are served."""

from dataclasses import dataclass

from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.url import Url


@dataclass(frozen=True, slots=True)
class CrlSettings:
    """``fetches``: whether the distribution points of the CAs' and this node's own certificates are asked.

    ``mirrors`` are asked in any case. ``interval``: seconds between two requests to one of them. ``listen``: where
    the CRLs in force are served to other nodes; ``None`` for nowhere.
    """

    fetches: bool = False
    mirrors: tuple[Url, ...] = ()
    interval: float = 600.0
    listen: Endpoint | None = None

    @property
    def is_on(self) -> bool:
        """Tell whether anything is fetched."""
        return self.fetches or bool(self.mirrors)
