"""The metrics of the page."""

from dmvpn_agent.runtime.metrics import counter, each, gauge

OUTCOMES = ("answered", "invalid", "unreachable")

PAGE_READS = counter("page_reads", "Requests of the page to its nodes, by outcome.", "outcome", starts=each(OUTCOMES))
PAGE_NODE_UP = gauge("page_node_up", "1 if a node of the page answered the last time.", "node")
