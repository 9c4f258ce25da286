"""The settings in ``[page]``."""

from dataclasses import dataclass, field
from pathlib import Path

from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.runtime.url import Url


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A node of the page (``[[page.nodes]]``).

    ``at``: its page, or its control socket on this machine. ``authorities``: PEM, of which one must have issued the
    page's certificate; without, one of the system's. ``certificate``, ``key``: PEM, shown to it. ``token``: a file
    with one line, sent as ``Authorization: Bearer``.
    """

    name: str
    at: Url | Path
    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: Path | None = None


@dataclass(frozen=True, slots=True)
class PageSettings:
    """``names``: by which browsers reach it, in lower case, besides ``localhost`` and addresses.

    ``nodes``: what it shows; without any, the agent on this machine.
    """

    listen: Endpoint | None = None
    access: HttpAccess = field(default_factory=HttpAccess)
    names: frozenset[str] = frozenset()
    nodes: tuple[NodeSettings, ...] = ()
