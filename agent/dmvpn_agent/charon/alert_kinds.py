"""The kinds of alert that charon raises over VICI since strongSwan 6.0.3 (explained in its README.md there)."""

#: An operator can do something about these; the others come with lost packets or strangers, and are counted only.
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


def kind(name: str) -> str:
    """Return the kind to count an alert under; ``other`` for one of a newer strongSwan."""
    return name if name in KINDS else OTHER
