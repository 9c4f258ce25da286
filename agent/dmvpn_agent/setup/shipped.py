"""The files that come with the program: configuration to start from, services, rules and dashboards.

Those that ``setup`` writes are rendered from their templates. Prometheus', Grafana's and the CA's lie in ``deploy``
of the checkout; in an installed program they are in the package, where ``setup.py`` copied them.
"""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from dmvpn_agent.setup.templates import EXAMPLES, Example, example_text

#: What can be asked for, and the beginnings of the names of its files in the checkout.
TOPICS: Mapping[str, tuple[str, ...]] = {
    "hub": ("deploy/agent.hub.toml",),
    "spoke": ("deploy/agent.spoke.toml",),
    "frr": ("frr/",),
    "swanctl": ("swanctl/",),
    "openrc": ("deploy/openrc/",),
    "systemd": ("deploy/systemd/",),
    "prometheus": (),
    "grafana": (),
    "ca": (),
}
#: The files of a topic that are copied into the package, by the end of their names.
COPIED: Mapping[str, str] = {"prometheus": ".yml", "grafana": ".json", "ca": ""}


def shipped(topic: str) -> dict[str, str]:
    """Return the files of a topic by name."""
    if topic in COPIED:
        folder = _folder(topic)
        found = (one for one in folder.iterdir() if one.name.endswith(COPIED[topic]))
        return {one.name: one.read_text("utf-8") for one in sorted(found, key=lambda one: one.name)}
    return {_name(one): example_text(one) for one in EXAMPLES if one.file.startswith(TOPICS[topic])}


def _name(example: Example) -> str:
    return example.file.rpartition("/")[2]


def _folder(topic: str) -> Traversable:
    installed = files("dmvpn_agent") / "examples" / topic
    return installed if installed.is_dir() else Path(__file__).parents[3] / "deploy" / topic
