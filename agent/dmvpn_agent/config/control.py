"""Where the running agent answers commands."""

from pathlib import Path

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Table
from dmvpn_agent.config.toml_file import read_toml_file


def read_control_socket(top: Table) -> Path:
    """Return ``control_socket``. Raises ``ConfigError``."""
    return top.get("control_socket", parse.path, "/run/dmvpn-agent/control.sock")


def control_socket(file: Path) -> Path:
    """Return the control socket of a configuration whose other values may be wrong: they are not those in force.

    A command that only asks the running agent needs nothing else, and to read it all takes half of its time. Raises
    ``ConfigError``.
    """
    try:
        return read_control_socket(Table("", read_toml_file(file)))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
