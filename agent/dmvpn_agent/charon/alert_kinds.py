"""The kinds of alert that charon raises over VICI since strongSwan 6.0.3, as its VICI README.md lists them."""

#: An operator can act on these; the others come with packet loss or unknown peers, and are only counted.
NOTABLE = frozenset({
    "authorization-failed", "cert-exceeded-path-len", "cert-expired", "cert-no-issuer", "cert-policy-violation",
    "cert-revoked", "cert-untrusted-root", "cert-validation-failed", "install-child-policy-failed",
    "install-child-sa-failed", "keep-on-child-sa-failure", "local-auth-failed", "peer-auth-failed",
    "proposal-mismatch-child", "proposal-mismatch-ike", "ts-mismatch", "unique-keep", "unique-replace",
})  # fmt: skip
KINDS = NOTABLE | {
    "half-open-timeout", "ike-sa-expired", "invalid-ike-spi", "parse-error-body", "parse-error-header",
    "peer-addr-failed", "peer-init-unreachable", "radius-not-responding", "retransmit-receive", "retransmit-send",
    "retransmit-send-cleared", "retransmit-send-timeout", "shutdown-signal", "ts-narrowed", "vip-failure",
}  # fmt: skip
OTHER = "other"


def alert_label(kind: str) -> str:
    """Return the metric label of an alert; ``other`` if a newer strongSwan raised it."""
    return kind if kind in KINDS else OTHER
