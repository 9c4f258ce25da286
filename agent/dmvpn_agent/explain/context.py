"""What every command that judges needs: a configuration and a Judge for it."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.control.quarantines import read_quarantines, with_quarantines
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.output import complain
from dmvpn_agent.runtime.sqlite_file import StoreUnreadable
from dmvpn_agent.x509.trust_files import read_trust


@dataclass(frozen=True, slots=True)
class JudgingContext:
    """A configuration and a Judge for it and for the peers that an operator quarantined by command.

    ``problems``: CA and CRL files that could not be used, and why.
    """

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
    return JudgingContext(config, Judge(_policy(config), trust), problems)


def _policy(config: Config) -> Policy:
    """Return the configured policy with the operator's quarantines, as the agent has it in force."""
    try:
        return with_quarantines(config.policy, read_quarantines(config.state_directory))
    except StoreUnreadable as error:
        complain(f"dmvpn-agent: {error}; quarantines by command are left out")
        return config.policy
