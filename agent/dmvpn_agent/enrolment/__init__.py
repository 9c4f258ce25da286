"""The CA's server: nodes get and renew their certificates by EST and SCEP, and fetch CRLs."""
