"""The dashboards' queries to a real Prometheus that scrapes an agent with charon, nhrpd, bgpd and a peer."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from contract.app.test_stages import NEEDS_DAEMONS, QUIET, SPEAKER_FAMILY, node
from contract.deploy.prometheus_server import Prometheus, prometheus
from contract.deploy.test_grafana import queries
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.view.stage import Stage
from fakes.waiting import until_now

pytestmark = NEEDS_DAEMONS

#: The scraped node, whose only peer is a spoke.
VALUES = {"cluster": "lab", "job": ".*", "instance": ".*", "hub": ".*", "peer": ".*", "__rate_interval": "10s"}
LABELS = {"instance": "hub1", "cluster": "lab"}
#: What such a node does not have: a hub as its peer, and what is shown only while it is above 0.
NOT_HERE = re.compile(r'kind="hub"| > 0$')


def _names(server: Prometheus) -> set[str]:
    return {
        one["metric"]["__name__"] for one in server.instant('{__name__=~"dmvpn_agent_.+"}', utc_now().timestamp())
    }


async def test_no_query_is_empty_whose_series_a_real_agent_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a peer that is up; and the dashboards of hubs, peers and the fleet ask for most of what it exports."""
    folder = tmp_path / "node"
    folder.mkdir()
    async with node(folder) as made:
        await made.peer.ask("initiate", {"child": "dmvpn", "timeout": "5000"})
        assert b"accept" in await asyncio.to_thread(made.ask)
        await asyncio.to_thread(made.bind)
        speaker = await asyncio.to_thread(made.speak, QUIET)
        await asyncio.to_thread(speaker.type, *SPEAKER_FAMILY, "network 192.168.2.0/24")
        await made.reaches(Stage.UP, capsys)
        target = {"targets": [str(made.metrics)], "labels": LABELS}
        scrape = {"job_name": "dmvpn-agent", "scrape_interval": "1s", "static_configs": [target]}
        with prometheus(tmp_path, json.dumps({"scrape_configs": [scrape]})) as server:
            await asyncio.to_thread(_compare, server)


def _compare(server: Prometheus) -> None:
    until_now(lambda: server.instant("count_over_time(dmvpn_agent_peer_up[1m]) >= 4", utc_now().timestamp()))
    there, empty, asked = _names(server), [], set[str]()
    for board, panel, expression, _ in queries(VALUES):
        names = set(re.findall(r"dmvpn_agent_\w+", expression))
        found = server.instant(expression, utc_now().timestamp())
        asked |= names & there
        if names and names <= there and not found and not NOT_HERE.search(expression):
            empty.append(f"{board}, {panel}: {expression}")
    assert not empty, "\n".join(empty)
    assert len(asked) > 100
