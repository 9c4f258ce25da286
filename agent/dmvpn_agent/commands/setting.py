"""What every command that judges begins with: the policy of a configuration, and the trust it rests on."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.adapters.trust_files import read_trust
from dmvpn_agent.config import Config, load
from dmvpn_agent.core.decision import Judge
from dmvpn_agent.output import complain


@dataclass(frozen=True, slots=True)
class Setting:
    """A configuration with what judges by it. ``problems``: CA and CRL files that could not be used, and why."""

    config: Config
    judge: Judge
    problems: tuple[str, ...]


def settle(file: Path) -> Setting:
    """Read a configuration and the CA and CRL files that it names; what is wrong with those goes to standard error.

    Raises ``ConfigError`` where the configuration cannot be used.
    """
    config = load(file)
    trust, problems = read_trust(config.trust_files)
    for problem in problems:
        complain(f"dmvpn-agent: {problem}")
    return Setting(config, Judge(config.policy, trust), problems)
