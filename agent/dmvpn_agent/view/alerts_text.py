"""charon's alerts about a peer without an IKE_SA or a CHILD_SA, in plain words: what is wrong, and what to do.

The words are for the operator of this node, who sees charon's names for the first time.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlertText:
    """``because``: what charon found, as the rest of a sentence. ``do``: what to do about it."""

    because: str
    do: str


_LOG = "charon's log here, and on the peer, names the check"
_TRUST = (
    "give the peer a certificate of your CA. If the other CA is yours too, put it, and those between, into"
    " policy.ca_certificates (/etc/swanctl/x509ca) here, and run `swanctl --load-creds`"
)
_WAY = "check that the peer runs, and that UDP ports 500 and 4500 pass both ways"

TEXTS = {
    "authorization-failed": AlertText("a plugin of charon refused the peer", _LOG),
    "cert-exceeded-path-len": AlertText(
        "the chain of its certificate is longer than a CA in it allows",
        "issue a certificate by a CA closer to the root",
    ),
    "cert-expired": AlertText(
        "a certificate of the peer's has expired, or is not valid yet",
        "compare `date` here and on the peer; if both are right, renew the peer's certificate, or that of its CA",
    ),
    "cert-no-issuer": AlertText("the CA that issued the peer's certificate is not known here", _TRUST),
    "cert-policy-violation": AlertText("the peer's certificate breaks a policy of its CA", _LOG),
    "cert-revoked": AlertText(
        "the peer's certificate is revoked",
        "if that is intended, nothing. If not, have the CA issue a new certificate",
    ),
    "cert-untrusted-root": AlertText("the root CA of the peer's certificate is not trusted here", _TRUST),
    "cert-validation-failed": AlertText(
        "the peer's certificate could not be checked, for example without a current CRL",
        f"check the CRLs here (`dmvpn-agent status`, `swanctl --list-certs --type x509_crl`); {_LOG}",
    ),
    "half-open-timeout": AlertText(
        "the peer began an IKE_SA and did not finish it",
        "check UDP port 4500 on the way, and whether large packets are lost: certificates make IKE_AUTH large",
    ),
    "install-child-policy-failed": AlertText(
        "the kernel refused the policies of the CHILD_SA",
        "charon's log has the kernel's error; often another connection has the same traffic selectors",
    ),
    "install-child-sa-failed": AlertText(
        "the kernel refused the CHILD_SA",
        "charon's log has the kernel's error; often the module esp4 or esp6, or an algorithm, is missing",
    ),
    "local-auth-failed": AlertText(
        "the peer refused this node",
        "look on the peer: charon's log there names the check of this node's certificate, identity or secret;"
        " `dmvpn-agent status` shows this node's certificate",
    ),
    "peer-auth-failed": AlertText(
        "the peer did not prove its identity: the certificate, the secret or the identity is not the expected one",
        "compare the peer's certificate or secret, and its identity, with `remote` in swanctl.conf here",
    ),
    "peer-init-unreachable": AlertText("the peer does not answer", _WAY),
    "proposal-mismatch-child": AlertText(
        "the ESP proposals of the two sides have nothing in common",
        "make `esp_proposals` in swanctl.conf agree on both sides, then `swanctl --load-conns`",
    ),
    "proposal-mismatch-ike": AlertText(
        "the IKE proposals of the two sides have nothing in common",
        "make `proposals` in swanctl.conf agree on both sides, then `swanctl --load-conns`",
    ),
    "retransmit-send-timeout": AlertText("the peer stopped answering", _WAY),
    "ts-mismatch": AlertText(
        "the traffic selectors of the two sides have nothing in common",
        "make `local_ts`, `remote_ts` (dynamic[gre]) and `mode` in swanctl.conf agree on both sides, then"
        " `swanctl --load-conns`",
    ),
}
