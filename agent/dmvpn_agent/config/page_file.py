"""The configuration of the page: that of the agent beside it, or a file of its own on a machine without one."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.config.control import read_control_socket
from dmvpn_agent.config.file import load
from dmvpn_agent.config.log import read_log
from dmvpn_agent.config.page import read_page
from dmvpn_agent.config.table import ConfigError, Table
from dmvpn_agent.config.toml_file import read_toml_file
from dmvpn_agent.page.settings import PageSettings
from dmvpn_agent.runtime.log_settings import Log


@dataclass(frozen=True, slots=True)
class PageConfig:
    """What the page reads of a configuration file."""

    log: Log
    control_socket: Path
    page: PageSettings


def load_page(file: Path) -> PageConfig:
    """Read and validate a configuration file: an agent's, or one with ``[page]`` and ``[log]`` only.

    Raises ``ConfigError`` as ``load`` does.
    """
    try:
        raw = read_toml_file(file)
        if "role" not in raw:
            return _without_agent(Table("", raw))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    config = load(file)
    return PageConfig(config.log, config.control_socket, config.page)


def _without_agent(top: Table) -> PageConfig:
    """Return the configuration of a machine without an agent. Raises ``ConfigError``."""
    config = PageConfig(read_log(top.table("log")), read_control_socket(top), read_page(top.table("page")))
    top.finish()
    return config
