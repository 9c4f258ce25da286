"""Configurations for tests."""

from dataclasses import replace
from typing import Any

from dmvpn_agent.config.file import read_config
from dmvpn_agent.config.findings import refuse_contradictions
from dmvpn_agent.config.settings import Config
from dmvpn_agent.kernel.iptables.backend import in_use


def config_from(raw: dict[str, Any]) -> Config:
    """Return the configuration of a parsed TOML document, as ``load`` does of a file. Raises ``ConfigError``."""
    config = read_config(raw)
    config = replace(config, firewall=in_use(config.firewall))
    refuse_contradictions(config)
    return config
