"""Checks of the GRE guard."""

from collections.abc import Iterator

from dmvpn_agent.doctor.check import Check, Level, result, unknown
from dmvpn_agent.doctor.node import Expected, NodeView, Unknown
from dmvpn_agent.kernel.nftables.source_filter import FilterMode


def guard_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield whether the kernel can guard, and whether anything keeps GRE without IPsec out."""
    if expected.guard is not FilterMode.OFF:
        if isinstance(node.guard_refusal, Unknown):
            yield unknown("IPsec in nftables", node.guard_refusal, "install nftables; the kernel needs nf_tables")
        else:
            yield result("IPsec in nftables", not node.guard_refusal, node.guard_refusal or "known",
                         "known: the GRE guard matches packets that IPsec has protected",
                         "use Linux 5.0 or later with CONFIG_XFRM, and nft 0.9.1 or later;"
                         " or set gre_guard.mode to off")  # fmt: skip
    if not isinstance(node.charon, Unknown) and node.charon.patched:
        yield result("GRE without IPsec", expected.guard is FilterMode.ENFORCE, f"gre_guard.mode is {expected.guard}",
                     "enforce: in native mode nothing else keeps it out, from whatever host",
                     "set gre_guard.mode to enforce, once `dmvpn-agent status` shows no such packets of your sites",
                     Level.WARNING)  # fmt: skip
