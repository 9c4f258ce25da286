"""``[page]``."""

from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.config.page import read_page
from dmvpn_agent.config.page_file import load_page
from dmvpn_agent.config.table import ConfigError, Table
from dmvpn_agent.page.settings import PageSettings
from dmvpn_agent.runtime.endpoint import Endpoint

AGENT = 'role = "spoke"\n[policy]\ntunnel_networks = ["10.255.0.0/24"]\n'


def _read(**values: Any) -> PageSettings:
    table = Table("page", values)
    page = read_page(table)
    table.finish()
    return page


def test_the_page_is_off_by_default() -> None:
    """Without a node of its own it shows the agent of this machine."""
    assert _read() == PageSettings()


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "192.0.2.1:80", "[::]:80", "[2001:db8::1]:80"])
def test_nobody_else_sees_the_page_without_a_password(listen: str) -> None:
    """On an address that others reach, one of three keys is required."""
    with pytest.raises(ConfigError, match="users_file"):
        _read(listen=listen)
    assert _read(listen=listen, users_file="/u").listen is not None
    assert _read(listen=listen, token_file="/t").listen is not None
    assert _read(listen=listen, tls_certificate="/c", tls_client_ca="/a").listen is not None
    with pytest.raises(ConfigError, match="users_file"):
        _read(listen=listen, tls_certificate="/c")


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80"])
def test_loopback_needs_none(listen: str) -> None:
    """Who may log in may look."""
    assert _read(listen=listen).listen is not None


@pytest.mark.parametrize("url", [
    "ftp://hub1", "hub1", "http://", "http://a@hub1", "https://hub1/?x=1", "unix:relative", "http://hub1/#x",
    "http://hub1:99999", "javascript:alert(1)", 7,
])  # fmt: skip
def test_a_node_has_a_url_or_a_socket(url: object) -> None:
    """Anything else is refused, with an example."""
    with pytest.raises(ConfigError, match=r"nodes\[1\].url"):
        _read(nodes=[{"name": "hub1", "url": url}])


def test_a_token_is_not_sent_in_clear_text() -> None:
    """Except on this machine."""
    with pytest.raises(ConfigError, match="clear text"):
        _read(nodes=[{"name": "hub1", "url": "http://hub1:80", "token_file": "/t"}])
    for url in ("https://hub1", "http://127.0.0.1:80", "http://localhost:80", "http://[::1]:80"):
        assert _read(nodes=[{"name": "hub1", "url": url, "token_file": "/t"}]).nodes[0].token == Path("/t")


def test_nodes_have_names_of_their_own() -> None:
    """By which the API tells them apart."""
    row = {"name": "hub1", "url": "http://127.0.0.1:80"}
    with pytest.raises(ConfigError, match="two rows"):
        _read(nodes=[row, row])


def test_names_are_compared_without_case() -> None:
    """As DNS does."""
    assert _read(names=["DMVPN.Example.org"]).names == {"dmvpn.example.org"}
    for name in ("a b", "x:80", "", "*"):
        with pytest.raises(ConfigError, match=r"page\.names"):
            _read(names=[name])


def test_a_machine_without_an_agent_needs_only_the_page(tmp_path: Path) -> None:
    """In the agent's own file everything is checked, as the agent does."""
    file = tmp_path / "page.toml"
    file.write_text('[page]\nlisten = "127.0.0.1:80"\n[log]\nlevel = "debug"\n')
    config = load_page(file)
    assert (config.page.listen, config.log.level) == (Endpoint("127.0.0.1", 80), "debug")
    file.write_text(AGENT + '[page]\nlisten = "127.0.0.1:80"\n')
    assert load_page(file).page.listen == Endpoint("127.0.0.1", 80)
    for wrong in ("[page]\nlisen = 1\n", "[pages]\n", AGENT + "[polici]\n"):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=str(file)):
            load_page(file)
