"""``[crl]``: CRLs that are fetched by HTTP, and served to other nodes."""

from typing import Any

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Invalid, Parser, Table
from dmvpn_agent.crls.distribution_points import MAX_URLS
from dmvpn_agent.crls.settings import CrlSettings
from dmvpn_agent.runtime.url import BadUrl, Url


def _url(value: Any) -> Url:
    try:
        return Url.parse(value)
    except BadUrl as error:
        raise Invalid(f"{value!r:.100}: {error}") from None


def _urls(value: Any) -> tuple[Url, ...]:
    found = parse.list_of(_url)(value)
    parse.check(len(found) <= MAX_URLS)
    return found


urls: Parser[tuple[Url, ...]] = Parser(
    f'a list of at most {MAX_URLS} URLs, as ["http://10.255.0.1:8080/crl.pem"]', _urls
)


def read_crl(table: Table) -> CrlSettings:
    """Return the settings. Raises ``ConfigError``."""
    return CrlSettings(
        fetches=table.get("fetch", parse.boolean, False),
        mirrors=table.get("mirrors", urls, []),
        interval=table.get("interval_seconds", parse.seconds(1, 86400), 600),
        listen=table.get("listen", parse.endpoint, ""),
    )
