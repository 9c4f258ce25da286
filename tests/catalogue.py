"""Every metric of the agent and the bridge."""

import importlib
import importlib.util
import pkgutil

import dmvpn_agent
from dmvpn_agent.runtime.metrics import Metric


def catalogue() -> tuple[Metric, ...]:
    """Return the metrics that the folders define."""
    names = [found.name for found in pkgutil.iter_modules(dmvpn_agent.__path__) if found.ispkg]
    modules = [importlib.util.find_spec(f"dmvpn_agent.{name}.metrics") for name in names]
    found = [vars(importlib.import_module(spec.name)) for spec in modules if spec is not None]
    return tuple(value for module in found for value in module.values() if isinstance(value, Metric))


CATALOGUE = catalogue()
