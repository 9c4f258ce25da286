"""What every command that judges needs: a configuration and a Judge for it."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.runtime.output import complain
from dmvpn_agent.x509.trust_files import read_trust


@dataclass(frozen=True, slots=True)
class JudgingContext:
    """A configuration and its Judge. ``problems``: CA and CRL files that could not be used, and why."""

    config: Config
    judge: Judge
    problems: tuple[str, ...]


def load_context(file: Path) -> JudgingContext:
    """Read a configuration and its CA and CRL files; problems with those files go to standard error.

    Raises ``ConfigError`` if the configuration cannot be used.
    """
    config = load(file)
    trust, problems = read_trust(config.trust_files)
    for problem in problems:
        complain(f"dmvpn-agent: {problem}")
    return JudgingContext(config, Judge(config.policy, trust), problems)
