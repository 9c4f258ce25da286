"""What a dashboard consists of, and how its queries are written."""

from dataclasses import dataclass
from typing import Literal

#: The label matchers of the selected nodes.
NODES = 'cluster=~"$cluster",job=~"$job",instance=~"$instance"'
RATE = "[$__rate_interval]"
#: The stages by how far a peer has come, with the colour of each.
STAGES = {
    "unknown": "text", "authentication_failed": "dark-red", "no_ike": "red", "no_child_sa": "orange",
    "not_registered": "dark-orange", "denied": "purple", "no_bgp": "yellow", "nothing_announced": "light-yellow",
    "filtered": "light-blue", "up": "green",
}  # fmt: skip


def metric(name: str, **matchers: str) -> str:
    """Return the series of a metric on the selected nodes; a matcher that begins with ``~`` is a pattern."""
    texts = [
        f'{key}=~"{value[1:]}",' if value.startswith("~") else f'{key}="{value}",' for key, value in matchers.items()
    ]
    return f"dmvpn_agent_{name}{{{''.join(texts)}{NODES}}}"


def rate(name: str, **matchers: str) -> str:
    """Return the rate of a counter."""
    return f"rate({metric(name, **matchers)}{RATE})"


def increase(by: str, name: str, **matchers: str) -> str:
    """Return the increase of a counter, summed by labels."""
    return f"sum by ({by}) (increase({metric(name, **matchers)}{RATE}))"


def stage_number(**matchers: str) -> str:
    """Return the stage of each peer as its position in ``STAGES``."""
    stages = enumerate(STAGES)
    parts = (f"{number} * {metric('peer_stage', stage=stage, **matchers)}" for number, stage in stages)
    return f"max by (instance, peer) ({' or '.join(parts)})"


Kind = Literal["stat", "graph", "bars", "table", "timeline"]
Queries = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``queries``: pairs of expression and legend; of a table, of expression and column.

    ``good``: the texts for 1 (green) and 0 (red); otherwise ``limits`` colour a number orange and red. ``line``: a
    threshold in a graph. ``key``: by which label a table joins its queries. ``link``: the dashboard that a row leads
    to. ``empty``: the text without data.
    """

    kind: Kind
    title: str
    meaning: str
    queries: Queries
    unit: str = "none"
    width: int = 6
    height: int = 8
    good: tuple[str, str] | None = None
    limits: tuple[float, float] | None = None
    line: float | None = None
    stacked: bool = False
    key: str = "instance"
    link: str = ""
    empty: str = "no data"


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. ``variable``: one besides data source, cluster, job and instance: its name, label and query."""

    uid: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    variable: tuple[str, str, str] | None = None


def stat(title: str, expression: str, meaning: str, **options: object) -> Panel:
    """Return a present value."""
    return Panel("stat", title, meaning, ((expression, ""),), **{"width": 3, "height": 4, **options})  # type: ignore[arg-type]


def graph(title: str, meaning: str, *queries: tuple[str, str], **options: object) -> Panel:
    """Return a panel over time."""
    return Panel("graph", title, meaning, queries, **options)  # type: ignore[arg-type]


#: The agents among the targets.
AGENTS = metric("build_info", process="agent")
#: The hubs that the selected nodes know.
HUBS = metric("peer_info", kind="hub")
#: The selected peer.
THIS = {"peer": "~$peer"}
