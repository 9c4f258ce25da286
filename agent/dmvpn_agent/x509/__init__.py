"""Certificates and CRLs: DER, names, RFC 3779, chains, and the CAs and CRLs in force."""
