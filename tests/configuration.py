"""Configurations for tests."""

from typing import Any

from dmvpn_agent.config.file import Config, read_config, refuse_contradictions


def config_from(raw: dict[str, Any]) -> Config:
    """Return the configuration of a parsed TOML document, as ``load`` does of a file. Raises ``ConfigError``."""
    config = read_config(raw)
    refuse_contradictions(config)
    return config
