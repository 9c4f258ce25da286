"""``[metrics]``: where metrics are served, and to whom."""

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Table
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import HttpAccess


def read_metrics(table: Table) -> tuple[Endpoint | None, HttpAccess]:
    """Return the agent's metrics port, and who may read it and the bridge's. Raises ``ConfigError``."""
    return table.get("listen", parse.endpoint, "127.0.0.1:19342"), read_access(table)


def read_access(table: Table) -> HttpAccess:
    """Return who may use the HTTP port of a table. Raises ``ConfigError``."""
    access = HttpAccess(
        certificate=table.get("tls_certificate", parse.path_or_none, ""),
        key=table.get("tls_key", parse.path_or_none, ""),
        client_ca=table.get("tls_client_ca", parse.path_or_none, ""),
        users=table.get("users_file", parse.path_or_none, ""),
        token=table.get("token_file", parse.path_or_none, ""),
    )
    if access.certificate is None and (access.key or access.client_ca):
        raise ConfigError(
            f"{table.name}.tls_certificate is missing: expected a PEM file, as tls_key or tls_client_ca is set"
        )
    return access
