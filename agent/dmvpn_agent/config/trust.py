"""The files with CA certificates and CRLs, which ``[policy]`` names."""

from pathlib import Path

from dmvpn_agent.charon.settings import Ike
from dmvpn_agent.charon.vici import MAX_VALUE
from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Table
from dmvpn_agent.crls.settings import CrlSettings
from dmvpn_agent.x509.settings import TrustFiles


def read_trust_files(policy: Table, crl: CrlSettings, state_directory: Path, ike: Ike) -> TrustFiles:
    """Return the settings. Raises ``ConfigError``."""
    return TrustFiles(
        authorities=policy.get("ca_certificates", parse.paths, ["/etc/swanctl/x509ca"]),
        crls=policy.get("crls", parse.paths, []),
        kept=state_directory / "trust",
        charon_crl_limit=MAX_VALUE if ike.loads_crls else None,
        fetched=state_directory / "crls" if crl.is_on else None,
    )
