"""Writes ``dashboard.json``, the Grafana dashboard of one DMVPN node.

Run it after a change here; a test compares the committed file with its output. It needs grafana-foundation-sdk (the
``dev`` extra).
"""

from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    GridPos,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

OUTPUT = Path(__file__).with_name("dashboard.json")
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
#: The label matcher of the selected node.
NODE = 'instance="$instance"'
GRID_WIDTH = 24


@dataclass(frozen=True, slots=True)
class State:
    """One present value. ``good``: the texts for 1 (green) and 0 (red); otherwise ``limits`` colour a number."""

    title: str
    expression: str
    meaning: str
    good: tuple[str, str] | None = None
    limits: tuple[float, float] = (1, 1)
    unit: str = "none"
    empty: str = "no data"


@dataclass(frozen=True, slots=True)
class Graph:
    """One panel over time; ``queries`` are pairs of expression and legend."""

    title: str
    meaning: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "none"


STATES = (
    State("Agent", f'up{{job="dmvpn-agent",{NODE}}}', "The agent answers Prometheus.", ("up", "DOWN")),
    State("nhrpd", f"dmvpn_agent_event_connections_open{{{NODE}}} > bool 0",
          "nhrpd is connected to the event socket.", ("connected", "AWAY")),
    State("charon", f'dmvpn_agent_vici_connected{{job="dmvpn-agent",{NODE}}}',
          "The agent is connected to charon.", ("connected", "AWAY")),
    State("Tunnel", f"dmvpn_agent_tunnel_interface_up{{{NODE}}}", "The tunnel interface is up.", ("up", "DOWN")),
    State("FRR as desired, age", f"time() - dmvpn_agent_last_sync_timestamp_seconds{{{NODE}}}",
          "Time since FRR was last exactly as desired; normally below the resync interval (30 s).",
          limits=(90, 300), unit="s", empty="not managed"),
    State("Pending changes", f"dmvpn_agent_pending_changes{{{NODE}}}", "Changes that FRR still lacks.",
          limits=(1, 10), empty="not managed"),
    State("Redirect rule", f"dmvpn_agent_redirect_rule_installed{{{NODE}}}", "The redirect rule is in place.",
          ("in place", "MISSING"), empty="not managed"),
    State("Bridge", f"dmvpn_agent_bridge_clients{{{NODE}}} > bool 0", "nhrpd is connected to the bridge.",
          ("in use", "NO CLIENT"), empty="no bridge"),
)  # fmt: skip

ROWS: tuple[tuple[str, tuple[Graph, ...]], ...] = (
    ("Peers", (
        Graph("Peers", "Accepted peers: bound in nhrpd's cache, or absent from it and within the linger time.",
              ((f"dmvpn_agent_peers{{{NODE}}}", "{{state}}"),)),
        Graph("Decisions", "Answers to nhrpd by reason; an accept has none.",
              ((f"sum by (decision, reason) (increase(dmvpn_agent_decisions_total{{{NODE}}}[$__rate_interval]))",
                "{{decision}} {{reason}}"),)),
        Graph("Time to decide", "Mean time for a decision; nhrpd waits 10 s for an answer.",
              ((f"rate(dmvpn_agent_decision_duration_seconds_sum{{{NODE}}}[$__rate_interval])"
                f" / rate(dmvpn_agent_decision_duration_seconds_count{{{NODE}}}[$__rate_interval])",
                "{{decision}}"),), "s"),
        Graph("Departures", "Accepted peers that were removed, by cause.",
              ((f"increase(dmvpn_agent_peer_departures_total{{{NODE}}}[$__rate_interval])", "{{cause}}"),)),
    )),
    ("After admission", (
        Graph("IKE_SAs ended", "By cause: the reason of a denial, readmitted, unbound. Failures are tried again.",
              ((f"increase(dmvpn_agent_ike_sas_ended_total{{{NODE}}}[$__rate_interval])",
                "{{cause}} {{outcome}}"),)),
        Graph("Denied and revoked", "Denials in memory; revoked peers with an IKE_SA, binding or neighbor.",
              ((f"dmvpn_agent_denied_peers{{{NODE}}}", "denied"),
               (f"dmvpn_agent_revoked_peers_present{{{NODE}}}", "revoked, still present"))),
        Graph("Revoked certificates", "Revoked serial numbers in the CRLs in force, by issuer.",
              ((f"dmvpn_agent_crl_revoked_certificates{{{NODE}}}", "{{issuer}}"),)),
        Graph("CRL good for", "Time until the nextUpdate of the CRL in force.",
              ((f"dmvpn_agent_crl_next_update_timestamp_seconds{{{NODE}}} - time()", "{{issuer}}"),), "s"),
    )),
    ("BGP and FRR", (
        Graph("BGP sessions", "1 if the session with an accepted peer is Established.",
              ((f"dmvpn_agent_bgp_established{{{NODE}}}", "{{peer}}"),)),
        Graph("Prefixes", "Prefixes accepted from each neighbor.",
              ((f"dmvpn_agent_bgp_prefixes_accepted{{{NODE}}}", "{{peer}}"),)),
        Graph("Passes of the reconciler", "By outcome: unchanged, applied, failed.",
              ((f"increase(dmvpn_agent_reconciles_total{{{NODE}}}[$__rate_interval])", "{{outcome}}"),)),
        Graph("Changes", "Changes sent and still missing, others' neighbors, sessions over the limit.",
              ((f"sum by (kind, outcome) (increase(dmvpn_agent_changes_total{{{NODE}}}[$__rate_interval]))",
                "{{kind}} {{outcome}}"),
               (f"dmvpn_agent_pending_changes{{{NODE}}}", "pending"),
               (f"dmvpn_agent_foreign_neighbors{{{NODE}}}", "foreign neighbors"),
               (f"dmvpn_agent_bgp_neighbors_over_limit{{{NODE}}}", "sessions ended at their limit"))),
        Graph("Drift", "Neighbors and prefix-lists of the agent that were edited and restored, and restarts of FRR.",
              ((f"increase(dmvpn_agent_drift_repairs_total{{{NODE}}}[$__rate_interval])", "{{kind}}"),
               (f"increase(dmvpn_agent_frr_restarts_total{{{NODE}}}[$__rate_interval])", "FRR restarted"))),
    )),
    ("Redirect and IPsec", (
        Graph("Redirected packets", "Packets logged to nhrpd, which sends a spoke a traffic indication for each.",
              ((f"rate(dmvpn_agent_redirect_packets_total{{{NODE}}}[$__rate_interval])", "packets"),), "pps"),
        Graph("IKE_SAs", "charon's IKE_SAs by state.",
              ((f'dmvpn_agent_ike_sas{{job="dmvpn-agent",{NODE}}}', "{{state}}"),)),
        Graph("CHILD_SAs", "charon's CHILD_SAs by state.",
              ((f'dmvpn_agent_child_sas{{job="dmvpn-agent",{NODE}}}', "{{state}}"),)),
        Graph("charon's events", "Events received over VICI.",
              ((f"sum by (event) (increase(dmvpn_agent_vici_events_total{{{NODE}}}[$__rate_interval]))",
                "{{event}}"),)),
    )),
    ("Tunnels", (
        Graph("Traffic received", "Bits from each peer, by its NBMA address, across rekeyings.",
              ((f'8 * rate(dmvpn_agent_sa_bytes_total{{direction="in",{NODE}}}[$__rate_interval])',
                "{{peer}}"),), "bps"),
        Graph("Traffic sent", "Bits to each peer. If a peer sends none back, the tunnel loses packets.",
              ((f'8 * rate(dmvpn_agent_sa_bytes_total{{direction="out",{NODE}}}[$__rate_interval])',
                "{{peer}}"),), "bps"),
        Graph("SA events", "Of all peers. Closed and installed again and again: a tunnel flaps.",
              ((f"sum by (event) (increase(dmvpn_agent_sa_events_total{{{NODE}}}[$__rate_interval]))",
                "{{event}}"),)),
        Graph("Rekeying overdue", "Time since the CHILD_SA with a peer was due to be rekeyed.",
              ((f"time() - dmvpn_agent_child_sa_rekey_due_timestamp_seconds{{{NODE}}} > 0",
                "{{peer}}"),), "s"),
        Graph("Algorithms and alerts", "SAs by algorithm and strength, and charon's alerts by kind.",
              ((f"dmvpn_agent_sa_algorithms{{{NODE}}}", "{{sa}} {{algorithm}} {{strength}}"),
               (f"increase(dmvpn_agent_charon_alerts_total{{{NODE}}}[$__rate_interval])", "alert {{kind}}"))),
    )),
    ("Bridge", (
        Graph("Requests", "Commands of nhrpd for charon.",
              ((f"increase(dmvpn_agent_bridge_requests_total{{{NODE}}}[$__rate_interval])",
                "{{command}} {{outcome}}"),)),
        Graph("Events", "Events reported to nhrpd.",
              ((f"increase(dmvpn_agent_bridge_events_total{{{NODE}}}[$__rate_interval])", "{{event}}"),)),
        Graph("Certificates", "Peer certificates in memory, IKE_SAs announced without one, and with one of several.",
              ((f"dmvpn_agent_bridge_certificates{{{NODE}}}", "in memory"),
               (f"increase(dmvpn_agent_bridge_certificates_missing_total{{{NODE}}}[$__rate_interval])",
                "missing"),
               (f"increase(dmvpn_agent_bridge_certificates_competing_total{{{NODE}}}[$__rate_interval])",
                "competing"),
               (f"increase(dmvpn_agent_bridge_reauthentications_total{{{NODE}}}[$__rate_interval])",
                "reauthenticated: {{cause}}"))),
        Graph("Triggers", "GRE packets that make the kernel ask charon for an SA, and closed connections of clients.",
              ((f"increase(dmvpn_agent_bridge_triggers_total{{{NODE}}}[$__rate_interval])", "{{outcome}}"),
               (f"increase(dmvpn_agent_bridge_clients_dropped_total{{{NODE}}}[$__rate_interval])",
                "closed: {{cause}}"))),
        Graph("Upgrades and surplus", "Upgrades of the running bridge; IKE_SAs ended because both sides had started.",
              ((f"increase(dmvpn_agent_bridge_upgrades_total{{{NODE}}}[$__rate_interval])", "upgrade {{outcome}}"),
               (f"increase(dmvpn_agent_bridge_surplus_ike_sas_total{{{NODE}}}[$__rate_interval])",
                "surplus {{outcome}}"))),
    )),
)  # fmt: skip


def _query(expression: str, legend: str = "", name: str = "A") -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(name)


def _stat(state: State) -> stat.Panel:
    first, second = ("green", "orange") if state.good is None else ("red", "green")
    steps = [Threshold(value=None, color=first), Threshold(value=state.limits[0], color=second)]
    if state.good is None:
        steps.append(Threshold(value=state.limits[1], color="red"))
    panel = (
        stat.Panel()
        .title(state.title)
        .description(state.meaning)
        .datasource(SOURCE)
        .unit(state.unit)
        .no_value(state.empty)
        .decimals(0)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.BACKGROUND)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(_query(state.expression).instant())
    )
    if state.good is not None:
        good, bad = state.good
        texts = {"1": ValueMappingResult(text=good), "0": ValueMappingResult(text=bad)}
        panel.mappings([ValueMap(options=texts)])
    return panel


def _graph(graph: Graph) -> timeseries.Panel:
    panel = (
        timeseries.Panel().title(graph.title).description(graph.meaning).datasource(SOURCE).unit(graph.unit).min(0)
    )
    for name, (expression, legend) in zip("ABC", graph.queries, strict=False):
        panel.with_target(_query(expression, legend, name))
    return panel


def _peer_table() -> table.Panel:
    hidden = dict.fromkeys(("Time", "Value", "__name__", "job", "instance"), True)
    return (
        table.Panel()
        .title("Accepted peers")
        .description("One line for each peer: addresses, AS number and the subject of its certificate.")
        .datasource(SOURCE)
        .with_target(_query(f"dmvpn_agent_peer_info{{{NODE}}}").instant().format(PromQueryFormat.TABLE))
        .with_transformation(DataTransformerConfig(id_val="organize", options={"excludeByName": hidden}))
    )


def build() -> str:
    """Return the dashboard as JSON."""
    board = (
        dashboard.Dashboard("DMVPN node")
        .uid("dmvpn-agent")
        .tags(["dmvpn", "dmvpn-agent"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("instance")
            .label("Node")
            .datasource(SOURCE)
            .query('label_values(up{job="dmvpn-agent"}, instance)')
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    )
    y = 0
    for column, state in enumerate(STATES):
        width = GRID_WIDTH // len(STATES)
        board.with_panel(_stat(state).grid_pos(GridPos(x=column * width, y=y, w=width, h=4)))
    y += 4
    for title, graphs in ROWS:
        board.with_row(dashboard.Row(title).grid_pos(GridPos(x=0, y=y, w=GRID_WIDTH, h=1)))
        y += 1
        for column, graph in enumerate(graphs):
            width = GRID_WIDTH // len(graphs)
            board.with_panel(_graph(graph).grid_pos(GridPos(x=column * width, y=y, w=width, h=8)))
        y += 8
        if title == "Peers":
            board.with_panel(_peer_table().grid_pos(GridPos(x=0, y=y, w=GRID_WIDTH, h=8)))
            y += 8
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(build())
