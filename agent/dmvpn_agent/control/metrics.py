"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, each

OPERATOR_COMMANDS = counter(
    "operator_commands",
    "Commands of operators that change something, by outcome.",
    "command",
    "outcome",
    starts=each(("forget", "kick", "quarantine", "release", "reload", "resync"), ("done", "refused")),
)
