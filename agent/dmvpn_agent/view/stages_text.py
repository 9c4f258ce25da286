"""The stages in words: what each needs, and what to do about a peer that is stuck there."""

from dataclasses import dataclass
from typing import Any

from dmvpn_agent.policy.advice import ADVICE
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.view.alerts_text import TEXTS as ALERTS
from dmvpn_agent.view.stage import NO_NEIGHBOR, Stage


@dataclass(frozen=True, slots=True)
class StageText:
    """``title``: in a few words. ``do``: what to do about a peer that is stuck there."""

    title: str
    do: str


TEXTS = {
    Stage.NO_IKE: StageText(
        "no IKE_SA",
        "check that the peer runs and reaches this node's UDP ports 500 and 4500, and charon's log on both sides."
        " `dmvpn-agent status` lists attempts that failed under a name or address that no peer has",
    ),
    Stage.AUTHENTICATION_FAILED: StageText(
        "authentication failed",
        "compare the peer's certificate and identity with swanctl.conf, on both sides; charon's log names the check",
    ),
    Stage.NO_CHILD_SA: StageText(
        "no CHILD_SA",
        "compare esp_proposals, mode and traffic selectors (dynamic[gre]) of the connection on both sides",
    ),
    Stage.NOT_REGISTERED: StageText(
        "not registered",
        "check nhrpd on the peer (`show ip nhrp nhs`), that both sides have the same tunnel key and network-id, and"
        " that GRE passes",
    ),
    Stage.DENIED: StageText(
        "denied",
        "read the reason; docs/metrics.md has a remedy for each",
    ),
    Stage.NO_BGP: StageText(
        "no BGP session",
        "ping its protocol address to test the tunnel; `show bgp neighbors` on the peer has the last error. AS"
        " numbers, password and addresses have to agree, and TCP port 179 has to pass in the tunnel",
    ),
    Stage.NOTHING_ANNOUNCED: StageText(
        "nothing announced",
        "check on the peer what it announces (`network` or `redistribute`), and its outbound filters",
    ),
    Stage.FILTERED: StageText(
        "everything filtered",
        "compare what the peer announces with the prefixes in its certificate",
    ),
    Stage.UP: StageText("up", ""),
    Stage.UNKNOWN: StageText(
        "unknown", "`dmvpn-agent status` says why it cannot be read: start that daemon, or restart it if it hangs"
    ),
}


def remedy(peer: dict[str, Any]) -> str:
    """Return what to do about a peer of the document ``peers`` or ``peer``, as precisely as it is known."""
    stage = Stage(peer["stage"])
    if stage is Stage.DENIED and (denial := peer["denial"]) and denial["reason"] in set(Reason):
        remedies = ADVICE[Reason(denial["reason"])].remedies
        return "; or ".join(remedies) or TEXTS[stage].do
    if peer["alert"] in ALERTS and stage in {Stage.NO_IKE, Stage.AUTHENTICATION_FAILED, Stage.NO_CHILD_SA}:
        return ALERTS[peer["alert"]].do
    if stage is Stage.NO_BGP and (bgp := peer["bgp"]):
        return _about_session(bgp) or TEXTS[stage].do
    return TEXTS[stage].do


def _about_session(bgp: dict[str, Any]) -> str:
    """Return what to do about a session that bgpd itself keeps down; empty if it tries to open it."""
    if bgp["over_limit"]:
        return (
            "have the site announce fewer prefixes, or raise bgp.maximum_prefixes here and run `dmvpn-agent reload`;"
            f" then `vtysh -c 'clear bgp {bgp['neighbor']}'`, or wait for bgp.maximum_prefixes_restart_minutes"
        )
    if bgp["state"] == NO_NEIGHBOR:
        return "`dmvpn-agent status`, line bgpd, says why the agent has not written the neighbor"
    if bgp["state"] == "Idle (Admin)":
        return f"somebody shut it down: in vtysh, under `router bgp`, `no neighbor {bgp['neighbor']} shutdown`"
    return ""
