"""The configuration file as TOML."""

import tomllib
from pathlib import Path
from typing import Any

from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.runtime.placeholders import placeholders

MAX_CONFIG_BYTES = 1 << 20


def read_toml_file(file: Path) -> dict[str, Any]:
    """Return the values of a file. Raises ``ConfigError`` if it cannot be read, is over 1 MiB or is not TOML."""
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file; `dmvpn-agent setup` makes one, -c names another") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}; expected a readable TOML file") from None
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(f"longer than {MAX_CONFIG_BYTES} bytes, the limit")
    return read_toml(text)


def read_toml(text: bytes) -> dict[str, Any]:
    """Return a TOML document's values. Raises ``ConfigError``."""
    if left := list(placeholders(text.decode(errors="replace"))):
        raise ConfigError(f"has placeholders that must be filled in: {'; '.join(left[:10])}; docs/by-hand.md, step 2,"
                          " explains them, and `dmvpn-agent setup` fills them in")  # fmt: skip
    try:
        return tomllib.loads(text.decode())
    except ValueError as error:  # not TOML, not UTF-8, or a number with thousands of digits
        raise ConfigError(f"not TOML: {error}") from None
    except RecursionError:
        raise ConfigError("not TOML: too deeply nested") from None
