"""``[renewal]``: this node's own certificate, and the CA's server that renews it."""

from pathlib import Path
from typing import Any

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Invalid, Parser, Table
from dmvpn_agent.renewal.settings import RenewalSettings
from dmvpn_agent.runtime.url import BadUrl, Url

_DEFAULTS = RenewalSettings()


def _server(value: Any) -> Url | None:
    if value == "":
        return None
    try:
        url = Url.parse(value)
    except BadUrl as error:
        raise Invalid(f"{value!r:.100}: {error}") from None
    parse.check(url.scheme == "https" and "?" not in url.target)
    return url


server: Parser[Url | None] = Parser('an https URL, as "https://ca.example.com:8443", or "" for none', _server)


def read_renewal(table: Table, authorities: tuple[Path, ...]) -> RenewalSettings:
    """Return the settings; ``authorities``: the CAs of the policy. Raises ``ConfigError``."""
    return RenewalSettings(
        server=table.get("server", server, ""),
        server_authorities=table.get("ca_certificates", parse.paths, [str(one) for one in authorities]),
        certificate=table.get("certificate", parse.path, str(_DEFAULTS.certificate)),
        key=table.get("key", parse.path, str(_DEFAULTS.key)),
        reauthenticates=table.get("reauthenticate", parse.boolean, _DEFAULTS.reauthenticates),
        state=table.get("state_directory", parse.path, str(_DEFAULTS.state)),
    )
