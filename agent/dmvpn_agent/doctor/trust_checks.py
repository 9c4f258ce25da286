"""Checks of the CA certificates and CRLs."""

from collections.abc import Iterator

from dmvpn_agent.doctor.check import Check, Level, result
from dmvpn_agent.doctor.node import Expected, NodeView


def trust_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of the operator's CA certificates and CRLs."""
    yield result("CA certificates", bool(node.authorities), "; ".join(node.authorities) or "none",
                 f"at least one in {', '.join(expected.ca_certificates)}: without one the bridge gives nhrpd no"
                 " certificate",
                 "install the CA's certificate there, readable by the user dmvpn-agent")  # fmt: skip
    if (renewal := node.renewal) is not None:
        found = renewal.trouble or ("in time" if renewal.due else "`dmvpn-agent renew` has not run yet")
        yield result("renewal of the own certificate", found == "in time", found,
                     "a timer that runs `dmvpn-agent renew` as root, and a CA that answers",
                     "enable dmvpn-renew.timer, which runs every 15 minutes; `dmvpn-agent renew` says more",
                     Level.WARNING)  # fmt: skip
    for url, why in node.crl_fetches.items():
        yield result(f"CRL from {url}", not why, why or "fetched", "a CRL in PEM or DER",
                     "see that the server runs and that this node reaches it; or correct crl.mirrors",
                     Level.WARNING)  # fmt: skip
    for problem in node.trust_problems:
        yield Check("CA certificates and CRLs", Level.FAULT, problem, "files that the agent can use",
                    "repair or remove the file; the user dmvpn-agent must be able to read it")  # fmt: skip
