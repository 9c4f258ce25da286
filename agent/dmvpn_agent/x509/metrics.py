"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

TRUST_READS = counter("trust_reads", "Times the CA certificates and CRLs were read, by outcome.", "outcome")
TRUST_AUTHORITIES = gauge("trust_authorities", "CA certificates in force.")
CRL_REVOKED = gauge("crl_revoked_certificates", "Serial numbers in the issuer's CRLs in force.", "issuer")
CRL_NEXT_UPDATE = gauge("crl_next_update_timestamp_seconds",
                         "When the first of the issuer's CRLs in force is to be renewed, Unix time.",
                         "issuer")  # fmt: skip
CRL_ROLLBACKS = counter("crl_rollbacks", "Older CRLs that were offered in place of newer ones, and refused.")
