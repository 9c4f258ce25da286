"""What is made before the lab starts, where it is fast: certificates, CRLs, and the files of all nodes."""

from pathlib import Path

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.setup.refusal import Refused
from dmvpn_lab.ca import issue_all
from dmvpn_lab.files import NotSetUp, write_files
from dmvpn_lab.issued import CA, FILES, Issued
from dmvpn_lab.scenario import Scenario
from dmvpn_lab.tables import ScenarioError


def prepare(scenario: Scenario, folder: Path) -> None:
    """Prepare all that a scenario needs. Raises ``ScenarioError`` if ``dmvpn-agent ca`` or ``setup`` refuses it."""
    try:
        issue_all(scenario, folder / CA)
        issued = Issued(folder / CA)
        for name, node in scenario.nodes.items():
            write_files(node, scenario, issued.credentials(name), folder / FILES / name)
    except (CaError, Refused, NotSetUp) as error:
        raise ScenarioError(f"{scenario.name}: {error}") from None
