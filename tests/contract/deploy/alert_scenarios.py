"""What a Prometheus with the alerts of ``deploy/prometheus`` has seen, and which alerts it raises: input of promtool.

A series is a name with labels besides ``job`` and ``instance``, and values every 15 s in promtool's notation.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

INTERVAL = "15s"
HUB = {"job": "dmvpn-agent", "instance": "hub1"}
BRIDGE = {"job": "dmvpn-bridge", "instance": "hub1"}


@dataclass(frozen=True)
class Fired:
    """An alert that fires; ``value``: how its summary shows the value."""

    alert: str
    labels: dict[str, str]
    value: str = ""


@dataclass(frozen=True)
class Scenario:
    """Series, and which alerts fire when: all others do not."""

    name: str
    series: dict[str, str]
    fire: dict[str, tuple[Fired, ...]]


def hub(alert: str, value: str = "", **labels: str) -> Fired:
    return Fired(alert, HUB | labels, value)


def bridge(alert: str, value: str = "", **labels: str) -> Fired:
    return Fired(alert, BRIDGE | labels, value)


def _on(where: dict[str, str], **series: str) -> dict[str, str]:
    """Return series of one node; ``name__label__value`` has a label."""
    found = {}
    for key, values in series.items():
        name, *labels = key.split("__")
        pairs = where | dict(zip(labels[::2], labels[1::2], strict=True))
        text = ",".join(f'{label}="{value}"' for label, value in pairs.items())
        found[f"{name if name == 'up' else f'dmvpn_agent_{name}'}{{{text}}}"] = values
    return found


SCENARIOS = (
    Scenario(
        "a node on which all is well, and which Prometheus did not scrape for five minutes",
        _on(
            HUB,
            up="1x200",
            start_time_seconds="5x40 _x20 5x140",
            event_connections_open="1x40 _x20 1x140",
            decisions_total__decision__deny__reason__internal_error="1x40 _x20 1x140",
            part_failures_total__part__reconciler="2x40 _x20 2x140",
            config_last_reload_successful="1x40 _x20 1x140",
            source_up__source__nhrpd="1x40 _x20 1x140",
            event_loop_lag_seconds="0.01x200",
            certificate_not_after_timestamp_seconds__kind__ca__subject__CN="9999999x40 _x20 9999999x140",
            sa_algorithms__sa__ike__algorithm__AES__strength__sound="3x200",
            peers_expected__state__absent="1x200",
            peers_expected__state__up="99x200",
            peer_up__peer__s1="1x200",
            peer_up__peer__stranger="0x200",
            peer_expected__peer__s1="1x200",
            peer_expected__peer__stranger="0x200",
        )
        | _on(
            BRIDGE,
            bridge_certificates_missing_total="3x40 _x20 3x140",
            bridge_upgrades_total__outcome__refused="1x40 _x20 1x140",
        ),
        {"9m": (), "17m": (), "45m": ()},
    ),
    Scenario(
        "agent and bridge are down; another one's job has a name of its own; a third restarts within a minute",
        _on(HUB, up="1x20 0x40", build_info__process__agent="1x20 _x40")
        | _on(BRIDGE, up="1x20 0x40", build_info__process__bridge="1x20 _x40")
        | _on({"job": "vpn", "instance": "hub2"}, up="1x20 0x40", build_info__process__agent="1x20 _x40")
        | _on({"job": "node", "instance": "hub1"}, up="0x60")
        | _on({"job": "dmvpn-agent", "instance": "hub3"}, up="1x20 0x2 1x40"),
        {
            "5m30s": (),
            "8m": (
                hub("DmvpnAgentDown"),
                bridge("DmvpnBridgeDown"),
                Fired("DmvpnAgentDown", {"job": "vpn", "instance": "hub2"}),
            ),
        },
    ),
    Scenario(
        "the agent crashes every five minutes; a restart by hand is no alert",
        _on(HUB, start_time_seconds="0x19 300x20 600x20 900x40")
        | _on({"job": "dmvpn-agent", "instance": "hub2"}, start_time_seconds="0x40 600x60"),
        {"8m": (), "16m": (hub("DmvpnRestarting"),)},
    ),
    Scenario(
        "nhrpd is down",
        _on(HUB, event_connections_open="1x20 0x20") | _on(BRIDGE, bridge_clients="1x20 0x20"),
        {"8m": (hub("DmvpnNhrpdNotConnected"), bridge("DmvpnBridgeWithoutClient"))},
    ),
    Scenario(
        "nhrpd's cache cannot be read for an hour",
        _on(HUB, source_up__source__nhrpd="1x20 0x240", source_up__source__bgpd="1x260"),
        {
            "9m": (),
            "11m": (hub("DmvpnSourceDown", source="nhrpd"),),
            "60m": (hub("DmvpnSourceDown", source="nhrpd"),),
        },
    ),
    Scenario(
        "two decisions take nine seconds, and the event loop is late",
        _on(
            HUB,
            decision_duration_seconds_count__decision__accept="7x40 11x100",
            event_loop_lag_seconds="0.1x40 3x100",
        )
        | _on(HUB | {"le": "5.0"}, decision_duration_seconds_bucket__decision__accept="7x40 9x100"),
        {
            "9m": (),
            "13m": (hub("DmvpnDecisionsSlow"),),
            "16m": (hub("DmvpnDecisionsSlow"), hub("DmvpnEventLoopSlow", "3s")),
        },
    ),
    Scenario(
        "of forty spokes thirty are gone past the linger time",
        _on(HUB, peers_expected__state__absent="0x40 30x200", peers_expected__state__up="40x40 10x200"),
        {"9m": (), "20m": (hub("DmvpnManyPeersDown", "75%"),), "55m": (hub("DmvpnManyPeersDown", "75%"),)},
    ),
    Scenario(
        "a spoke lost one of two hubs, then the other",
        _on(
            HUB,
            peer_up__peer__hub1="1x40 0x120",
            peer_up__peer__hub2="1x100 0x60",
            peer_up__peer__spoke2="1x40 0x120",
            peer_expected__peer__hub1="1x160",
            peer_expected__peer__hub2="1x160",
            peer_expected__peer__spoke2="0x160",
            peer_info__peer__hub1__kind__hub="1x160",
            peer_info__peer__hub2__kind__hub="1x160",
            peer_info__peer__spoke2__kind__shortcut="1x160",
        ),
        {
            "11m": (),
            "13m": (hub("DmvpnHubLost", peer="hub1"),),
            "22m": (hub("DmvpnHubLost", peer="hub1"), hub("DmvpnPeerDown", peer="hub1")),
            "29m": (
                hub("DmvpnHubLost", peer="hub1"),
                hub("DmvpnHubLost", peer="hub2"),
                hub("DmvpnPeerDown", peer="hub1"),
                hub("DmvpnNoHub"),
            ),
        },
    ),
    Scenario(
        "a spoke cannot read bgpd: nobody is known to be down",
        _on(
            HUB,
            peers_expected__state__absent="0x200",
            peers_expected__state__unknown="0x20 9x180",
            peers_expected__state__up="9x20 0x180",
            peer_up__peer__hub1="1x20 0x180",
            peer_expected__peer__hub1="1x200",
            peer_bound__peer__hub1="1x200",
            peer_info__peer__hub1__kind__hub="1x200",
            peer_stage__peer__hub1__stage__up="1x20 _x180",
            peer_stage__peer__hub1__stage__unknown="_x20 1x180",
            bgp_established__peer__hub1="1x20 _x180",
            source_up__source__bgpd="1x20 0x180",
        ),
        {"30m": (hub("DmvpnSourceDown", source="bgpd"),)},
    ),
    Scenario(
        "a peer is left in quarantine, and nft does not take the source filter",
        _on(
            HUB,
            quarantined_peers="0x20 1x400",
            filter_missing__filter__source_filter="0x20 1x400",
            filter_missing__filter__guard="0x420",
        ),
        {
            "20m": (hub("DmvpnFilterMissing", filter="source_filter"),),
            "80m": (hub("DmvpnQuarantine", "1"), hub("DmvpnFilterMissing", filter="source_filter")),
        },
    ),
    Scenario(
        "a hub lost the only other hub, and has its spokes",
        _on(
            HUB,
            peer_up__peer__hub2="0x60",
            peer_up__peer__s1="1x60",
            peer_info__peer__hub2__kind__hub="1x60",
            peer_info__peer__s1__kind__spoke="1x60",
        ),
        {"9m": (hub("DmvpnHubLost", peer="hub2"),)},
    ),
    Scenario(
        "a peer and its sessions come and go",
        _on(
            HUB,
            peer_flaps_total__peer__s1="0x20 1x10 2x10 3x10 4x10 5x10 6x40",
            bgp_session_drops_total__peer__s1="0x20 1x10 2x10 3x10 4x10 5x50",
            bgp_session_drops_total__peer__s2="7x20 8x90",
            sa_events_total__peer__s1__event__child_closed="0x20 1x10 2x10 3x10 4x10 5x10 6x10 7x10 8x70",
            sa_events_total__peer__s2__event__child_closed="0x60 1x60 2x80",
        ),
        {
            "8m": (),
            "26m": (
                hub("DmvpnPeerFlapping", peer="s1"),
                hub("DmvpnBgpFlapping", peer="s1"),
                hub("DmvpnSaFlapping", peer="s1", event="child_closed"),
            ),
        },
    ),
    Scenario(
        "bgpd goes down at minute 10; on another hub it never ran",
        _on(HUB, last_sync_timestamp_seconds="0+15x40 600x60")
        | _on({"job": "dmvpn-agent", "instance": "hub2"}, last_sync_timestamp_seconds="0x100"),
        {
            "14m": (Fired("DmvpnFrrNotInStep", {"job": "dmvpn-agent", "instance": "hub2"}),),
            "17m": (
                hub("DmvpnFrrNotInStep"),
                Fired("DmvpnFrrNotInStep", {"job": "dmvpn-agent", "instance": "hub2"}),
            ),
        },
    ),
    Scenario(
        "a revoked peer is present, CA files are unusable, a CRL is outdated, certificates expire",
        _on(
            HUB,
            revoked_peers_present="0x40 1x60",
            trust_reads_total__outcome__problem="0x40 1x60",
            crl_next_update_timestamp_seconds__issuer__CA="600x100",
            renewal_failures="0x20 2x20 3x60",
            certificate_not_after_timestamp_seconds__kind__peer__peer__s1="1210200x100",
            certificate_not_after_timestamp_seconds__kind__peer__peer__s2="99999999x100",
        ),
        {
            "9m": (),
            "17m": (
                hub("DmvpnRevokedPeerPresent", "1"),
                hub("DmvpnTrustUnusable", outcome="problem"),
                hub("DmvpnCrlOutdated", issuer="CA"),
                hub("DmvpnRenewalFails", "3"),
                hub("DmvpnCertificateExpires", "13d 23h 53m 0s", kind="peer", peer="s1"),
            ),
        },
    ),
    Scenario(
        "FRR refuses changes, the agent did not write a neighbor, a peer floods its hub, somebody edits",
        _on(
            HUB,
            pending_changes="0x20 3x60",
            foreign_neighbors="0x20 1x60",
            bgp_neighbors_over_limit="0x20 2x60",
            drift_repairs_total__kind__neighbor_removed="1x20 2x10 3x10 4x10 5x10 6x40",
            drift_repairs_total__kind__neighbor_added="0x20 1x80",
        ),
        {
            "5m": (),
            "17m": (
                hub("DmvpnChangesPending", "3"),
                hub("DmvpnForeignNeighbor", "1"),
                hub("DmvpnTooManyPrefixes", "2"),
                hub("DmvpnDrift", kind="neighbor_removed"),
            ),
        },
    ),
    Scenario(
        "one bound peer has a session, one has lost it, one has no neighbor; a spoke writes none",
        _on(
            HUB,
            last_sync_timestamp_seconds="0+15x60",
            peer_bound__peer__s1="1x60",
            peer_bound__peer__s2="1x60",
            peer_bound__peer__s3="1x60",
            bgp_established__peer__s1="1x60",
            bgp_established__peer__s2="1x20 0x40",
            bgp_established__peer__s3="0x60",
            peer_bound__peer__quarantined="1x60",
        )
        | _on({"job": "dmvpn-agent", "instance": "spoke1"}, peer_bound__peer__hub1="1x60"),
        {"14m": (hub("DmvpnPeerWithoutBgp", peer="s2"), hub("DmvpnPeerWithoutBgp", peer="s3"))},
    ),
    Scenario(
        "the redirect rule, the tunnel interface and charon are missing",
        _on(
            HUB,
            redirect_rule_installed="1x20 0x20",
            tunnel_interface_up__interface__gre1="1x20 0x20",
            vici_connected="1x20 0x20",
        )
        | _on(BRIDGE, vici_connected="1x20 0x20"),
        {
            "8m": (
                hub("DmvpnRedirectRuleMissing"),
                hub("DmvpnTunnelDown", interface="gre1"),
                hub("DmvpnCharonNotConnected"),
                bridge("DmvpnCharonNotConnected"),
            )
        },
    ),
    Scenario(
        "GRE without IPsec comes in for a minute; what goes out in native mode raises nothing",
        _on(
            HUB,
            clear_gre_packets_total__direction__received="0x20 0+5x4 20x100",
            clear_gre_packets_total__direction__sent="0+5x124",
        ),
        {"4m": (), "7m": (hub("DmvpnClearGre", direction="received"),), "25m": ()},
    ),
    Scenario(
        "one tunnel loses packets, one is rekeyed late; another is idle and rekeyed; one peer still proposes 3DES",
        _on(
            HUB,
            sa_packets_total__peer__s2__direction__out="0+2x200",
            sa_packets_total__peer__s2__direction__in="0+2x40 80x160",
            sa_packets_total__peer__s3__direction__out="0+2x200",
            sa_packets_total__peer__s3__direction__in="0+2x200",
            sa_packets_total__peer__s4__direction__out="5x200",
            sa_packets_total__peer__s4__direction__in="5x200",
            child_sa_rekey_due_timestamp_seconds__peer__s2="2200x200",
            child_sa_rekey_due_timestamp_seconds__peer__s4="900x62 4500x140",
            sa_algorithms__sa__child__algorithm__3DES__strength__weak="_x160 1x60",
        ),
        {
            "20m": (),
            "45m30s": (
                hub("DmvpnTunnelOneWay", peer="s2", direction="out"),
                hub("DmvpnRekeyOverdue", peer="s2"),
                hub("DmvpnWeakAlgorithm", "1", sa="child", algorithm="3DES", strength="weak"),
            ),
        },
    ),
    Scenario(
        "a burst of denials for one reason, and few for another",
        _on(
            HUB,
            decisions_total__decision__deny__reason__prefix_conflict="0x20 0+2x20 40x100",
            decisions_total__decision__deny__reason__no_certificate="0x20 0+0.5x20 10x100",
        ),
        {"10m": (hub("DmvpnDenials", "38", reason="prefix_conflict"),), "22m": ()},
    ),
    Scenario(
        "the first event of a counter raises an alert, for fifteen minutes; a refused reload does until the next one",
        _on(
            HUB,
            decisions_total__decision__deny__reason__internal_error="0x80 1x160",
            decisions_total__decision__deny__reason__certificate_awaited="0x80 1x160",
            part_failures_total__part__reconciler="0x80 1x160",
            config_last_reload_successful="1x80 0x120 1x40",
        )
        | _on(
            BRIDGE,
            store_writable="1x40 0x70 1x130",
            bridge_certificates_missing_total="0x80 1x160",
            bridge_triggers_total__outcome__failed="0x80 1x160",
            bridge_upgrades_total__outcome__refused="0x80 1x160",
        ),
        {
            "22m": (
                hub("DmvpnInternalError", decision="deny", reason="internal_error"),
                hub("DmvpnCertificateAwaited", decision="deny", reason="certificate_awaited"),
                hub("DmvpnPartFailing", part="reconciler"),
                hub("DmvpnConfigRefused"),
                bridge("DmvpnStoreInMemory"),
                bridge("DmvpnCertificateMissing"),
                bridge("DmvpnTriggerFailed", outcome="failed"),
                bridge("DmvpnUpgradeRefused", outcome="refused"),
            ),
            "45m": (hub("DmvpnConfigRefused"),),
            "55m": (),
        },
    ),
)


def promtool_tests(rules: str, summaries: dict[str, tuple[str, str, str]]) -> str:
    """Return the tests of all scenarios; ``summaries``: severity, summary and URL by alert."""
    tests = [_test(scenario, summaries) for scenario in SCENARIOS]
    return json.dumps({"rule_files": [rules], "evaluation_interval": INTERVAL, "tests": tests}, indent=1)


def _test(scenario: Scenario, summaries: dict[str, tuple[str, str, str]]) -> dict[str, Any]:
    series = [{"series": name, "values": values} for name, values in scenario.series.items()]
    exact = [
        {
            "expr": 'ALERTS{alertstate="firing"}',
            "eval_time": time,
            "exp_samples": [{"labels": _alerts_series(one, summaries), "value": 1} for one in fired],
        }
        for time, fired in scenario.fire.items()
    ]
    worded = []
    for time, fired in scenario.fire.items():
        for name in dict.fromkeys(one.alert for one in fired):
            expected = [_expected(one, summaries) for one in fired if one.alert == name]
            worded.append({"eval_time": time, "alertname": name, "exp_alerts": expected})
    return {"name": scenario.name, "interval": INTERVAL, "input_series": series,
            "promql_expr_test": exact, "alert_rule_test": worded}  # fmt: skip


def _alerts_series(fired: Fired, summaries: dict[str, tuple[str, str, str]]) -> str:
    labels = {"alertname": fired.alert, "alertstate": "firing", "severity": summaries[fired.alert][0], **fired.labels}
    return "ALERTS{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def _expected(fired: Fired, summaries: dict[str, tuple[str, str, str]]) -> dict[str, Any]:
    severity, summary, url = summaries[fired.alert]
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: fired.labels.get(found[1], ""), summary)
    text = re.sub(r"{{ \$value(?: \| \w+)? }}", fired.value, text)
    return {
        "exp_labels": {"severity": severity, **fired.labels},
        "exp_annotations": {"summary": text, "runbook_url": url},
    }
