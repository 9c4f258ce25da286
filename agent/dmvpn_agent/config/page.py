"""``[page]``: who may see the page, and which nodes it shows."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.metrics import read_access
from dmvpn_agent.config.table import ConfigError, Parser, Table
from dmvpn_agent.page.settings import NodeSettings, PageSettings
from dmvpn_agent.runtime.url import Url


def _node_at(value: Any) -> Url | Path:
    if isinstance(value, str) and value.startswith("unix:/"):
        return Path(value.removeprefix("unix:"))
    url = Url.parse(str(value))
    if "?" in url.text:
        raise ValueError
    return url


node_at: Parser[Url | Path] = Parser(
    'the URL of a page, as "https://hub1.example.org:19344", or "unix:" and the path of a control socket', _node_at
)


_name = parse.matching(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_names: Parser[tuple[str, ...]] = Parser(
    'a list of names without a port, as ["dmvpn.example.org"]', parse.list_of(_name)
)


def read_page(table: Table) -> PageSettings:
    """Return the settings of the page."""
    page = PageSettings(
        listen=table.get("listen", parse.endpoint, ""),
        access=read_access(table),
        names=frozenset(one.lower() for one in table.get("names", _names, [])),
        nodes=tuple(_node(row) for row in table.rows("nodes")),
    )
    refuse_open(page)
    refuse_twice(page)
    return page


def refuse_open(page: PageSettings) -> None:
    """Raise ``ConfigError`` if the page would show the peers to all who can reach an address of this machine."""
    access = page.access
    guarded = access.users or access.token or access.client_ca
    if page.listen and not guarded and not ip_address(page.listen.host).is_loopback:
        raise ConfigError(
            f"page.listen is {page.listen}, which other machines can reach, and the page shows each peer; expected"
            " 127.0.0.1 or [::1], or page.users_file, page.token_file or page.tls_client_ca"
        )


def refuse_twice(page: PageSettings) -> None:
    """Raise ``ConfigError`` if two nodes have one name."""
    known = [node.name for node in page.nodes]
    if twice := next((name for name in known if known.count(name) > 1), None):
        raise ConfigError(f"page.nodes has two rows with the name {twice}; expected one for each node")


def _node(row: Table) -> NodeSettings:
    node = NodeSettings(
        name=row.get("name", parse.label),
        at=row.get("url", node_at),
        authorities=row.get("ca_certificates", parse.path_or_none, ""),
        certificate=row.get("tls_certificate", parse.path_or_none, ""),
        key=row.get("tls_key", parse.path_or_none, ""),
        token=row.get("token_file", parse.path_or_none, ""),
    )
    if isinstance(node.at, Url) and node.token and node.at.scheme == "http" and not _is_loopback(node.at.host):
        raise ConfigError(f"{row.name}.token_file would be sent in clear text to {node.at}; expected an https URL")
    if node.key and not node.certificate:
        raise ConfigError(f"{row.name}.tls_certificate is missing: expected a PEM file, as tls_key is set")
    return node


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
