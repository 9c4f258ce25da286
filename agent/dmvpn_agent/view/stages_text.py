"""The stages in words: what each needs, and what to do about a peer that is stuck there."""

from dataclasses import dataclass

from dmvpn_agent.view.stage import Stage


@dataclass(frozen=True, slots=True)
class StageText:
    """``title``: in a few words. ``do``: what to do about a peer that is stuck there."""

    title: str
    do: str


TEXTS = {
    Stage.NO_IKE: StageText(
        "no IKE_SA",
        "check that the peer runs and reaches this node's UDP ports 500 and 4500, and charon's log on both sides",
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
        "read the reason; `dmvpn-agent explain` shows each rule for the peer's certificate",
    ),
    Stage.NO_BGP: StageText(
        "no BGP session",
        "check `show bgp neighbors` here and on the peer: AS numbers, the neighbor's address, TCP port 179",
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
    Stage.UNKNOWN: StageText("unknown", "start the daemon that cannot be read; `dmvpn-agent doctor` names it"),
}
