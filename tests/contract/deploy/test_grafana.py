"""The dashboards: what their program writes, with every metric, and without an empty panel."""

import json
import re
import runpy
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from catalogue import CATALOGUE
from contract.agent import CONFIG, Agent
from contract.deploy.fleet_data import END, scrapes
from contract.deploy.prometheus_server import Prometheus, load, prometheus
from dmvpn_agent.runtime.openmetrics import full_name
from factories import NOW
from fakes.waiting import until_now

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"
BOARDS = ("dmvpn-fleet", "dmvpn-hub", "dmvpn-spoke", "dmvpn-peer")
#: Metrics on no panel.
EXEMPT = frozenset({  # the CA's server, which is no node; a page, which shows its own nodes
    "dmvpn_agent_ca_http_requests_total",
    "dmvpn_agent_ca_enrolments_total",
    "dmvpn_agent_ca_upkeep_failures_total",
    "dmvpn_agent_ca_crl_next_update_seconds",
    "dmvpn_agent_page_reads_total",
    "dmvpn_agent_page_node_up",
})  # fmt: skip
VARIABLES = {"cluster": "lab", "job": ".*", "hub": "hub2", "peer": "spoke3", "__rate_interval": "5m"}
#: The selected node of each dashboard.
NODES = {"dmvpn-fleet": ".*", "dmvpn-hub": "hub1", "dmvpn-spoke": "spoke1", "dmvpn-peer": ".*"}


def queries(values: Mapping[str, str] = VARIABLES) -> Iterator[tuple[str, str, str, bool]]:
    """Yield board, panel, expression and whether it is about one moment, of every query.

    ``values``: of the variables; without ``instance`` each board has its own.
    """
    for board in BOARDS:
        for panel in json.loads((GRAFANA / f"{board}.json").read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield board, panel["title"], expanded(board, target["expr"], values), target.get("instant", False)


def expanded(board: str, expression: str, values: Mapping[str, str] = VARIABLES) -> str:
    """Return an expression of a dashboard with a value for each variable."""
    known = {"instance": NODES[board], **values}
    return re.sub(r"\$(\w+)", lambda found: known[found[1]], expression)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    load(folder, scrapes())
    with prometheus(folder) as server:
        yield server


def test_the_dashboards_are_the_output_of_build() -> None:
    """Each file is as deploy/grafana/build.py writes it; run that after a change."""
    built = runpy.run_path(str(GRAFANA / "build.py"))
    assert {board.uid for board in built["BOARDS"]} == set(BOARDS)
    for board in built["BOARDS"]:
        assert built["build"](board) == (GRAFANA / f"{board.uid}.json").read_text()


def test_every_metric_is_on_a_panel() -> None:
    """Or exempt by name."""
    used = set(re.findall(r"dmvpn_agent_\w+", " ".join(expression for _, _, expression, _ in queries())))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} | used
    assert {full_name(metric) for metric in CATALOGUE} - shown == EXEMPT


def test_no_query_is_lost() -> None:
    """Each panel has as many queries as its description in the program, however many."""
    built = runpy.run_path(str(GRAFANA / "build.py"))
    expected = sum(len(panel.queries) for board in built["BOARDS"] for _, panels in board.rows for panel in panels)
    assert len(list(queries())) == expected


def test_no_panel_of_a_real_prometheus_is_empty(history: Prometheus) -> None:
    """Every query is valid and finds something in three hours of a fleet."""
    empty = []
    for board, panel, expression, instant in queries():
        if instant:
            found = history.instant(expression, END.timestamp())
        else:
            found = history.range(expression, NOW.timestamp(), END.timestamp())
        if not found:
            empty.append(f"{board}, {panel}: {expression}")
    assert not empty, "\n".join(empty)


def test_prometheus_scrapes_a_real_agent_with_a_peer(tmp_path: Path) -> None:
    """In OpenMetrics, with a password; the rules are evaluated, and its peer is there."""
    config = CONFIG.replace('listen = ""', 'listen = "127.0.0.1:{port}"\nusers_file = "{directory}/users"')
    port = _free_port()
    (tmp_path / "users").write_text("prometheus:secret\n")
    agent = Agent(tmp_path, config.replace("{port}", str(port)))
    agent.start()
    try:
        agent.wait_for("agent_ready")
        assert agent.ask() == b"eventid=1\nresult=accept\n\n"
        scrape = {
            "job_name": "dmvpn-agent",
            "scrape_interval": "1s",
            "basic_auth": {"username": "prometheus", "password": "secret"},
            "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": "spoke1"}}],
        }
        rules = str(GRAFANA.parent / "prometheus" / "rules.yml")
        with prometheus(tmp_path, json.dumps({"rule_files": [rules], "scrape_configs": [scrape]})) as server:
            until_now(
                lambda: _values(server, "dmvpn_agent_peers_at_stage") and _values(server, "dmvpn_agent_peer_info")
            )
            assert _values(server, "up") == [1]
            assert _values(server, 'dmvpn_agent_decisions_total{decision="accept"}') == [1]
            assert _values(server, "sum(dmvpn_agent_decision_duration_seconds_count)") == [1]
            assert _values(server, 'dmvpn_agent_source_up{source="charon"}') == [0]
            assert all(one["health"] != "err" for group in server.ask("rules")["groups"] for one in group["rules"])
    finally:
        agent.kill()


def _values(server: Prometheus, query: str) -> list[float]:
    data: Any = server.ask("query", query=query)
    return [float(one["value"][1]) for one in data["result"]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
