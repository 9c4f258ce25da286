"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, each, gauge

TRUST_READS = counter(
    "trust_reads", "Reads of the CA certificates and CRLs by outcome.", "outcome", starts=each(("problem", "read"))
)
TRUST_AUTHORITIES = gauge("trust_authorities", "CA certificates in force.")
CRL_REVOKED = gauge("crl_revoked_certificates", "Revoked serial numbers in the issuer's CRLs in force.", "issuer")
CRL_NEXT_UPDATE = gauge(
    "crl_next_update_timestamp_seconds", "Earliest nextUpdate of the issuer's CRLs in force, Unix time.", "issuer"
)
CRL_ROLLBACKS = counter("crl_rollbacks", "Refused CRLs that were older than the one in force.")
