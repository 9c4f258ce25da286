"""``agent.toml`` on a node that has one: what an operator has changed stays, what the bundle decides is set.

Three versions are compared by their values: the present one, the wanted one, and what setup wrote last, if anything.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.config.toml_file import MAX_CONFIG_BYTES, read_toml
from dmvpn_agent.setup.node import Node
from dmvpn_agent.setup.paths import AGENT_TOML, AGENT_TOML_WRITTEN
from dmvpn_agent.setup.refusal import Refusal, Refused
from dmvpn_agent.setup.system import System
from dmvpn_agent.setup.templates import node_values, render
from dmvpn_agent.setup.toml_edit import Path, comments_of, dotted, edited, leaves, value_text

#: What certificate, strongSwan and the files of FRR and of the services decide: another value cannot work.
_DECIDED = frozenset({
    ("role",),
    ("control_socket",),
    ("nhrp", "interfaces", "gre1"),
    ("nhrp", "event_socket"),
    ("ike", "vici_socket"),
    ("policy", "allow_ibgp"),
    ("bgp", "as_number"),
    ("bgp", "ipv6"),
    ("renewal", "server"),
    ("tunnel", "gre1", "addresses"),
    ("bridge", "listen"),
})  # fmt: skip
#: Lists to which an operator adds, or of which they remove: setup adds only what it did not write before.
_LISTS = frozenset({("policy", "tunnel_networks"), ("policy", "allowed_networks"), ("policy", "crls")})
#: The networks that peers may have; those of protocol addresses, without which there is no configuration.
_ALLOWED, _TUNNELS = ("policy", "allowed_networks"), ("policy", "tunnel_networks")
_DAMAGED = (
    f"{AGENT_TOML_WRITTEN} was damaged: what an earlier bundle brought into {AGENT_TOML} stays; look for networks"
    " that should go"
)


@dataclass(frozen=True, slots=True)
class AgentToml:
    """The file as it must be. ``written``: what setup has to remember of it. ``notes``: what an operator has changed
    and setup overrides, or keeps although it would write something else.
    """

    text: str
    written: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Versions:
    present: Mapping[Path, Any]
    wanted: Mapping[Path, Any]
    #: Empty if setup has not written it yet, or a version that did not remember it has.
    base: Mapping[Path, Any]

    def value(self, path: Path) -> Any:
        """Return what a key of the wanted file must have; ``None`` if it must be missing."""
        present, wanted, base = (one.get(path) for one in (self.present, self.wanted, self.base))
        if path in _LISTS and isinstance(present, list) and isinstance(wanted, list):
            if path == _ALLOWED and not isinstance(base, list):
                return present  # perhaps narrowed: nothing tells what setup wrote, and adding would allow more
            former = base if isinstance(base, list) else []
            mine = [one for one in present if one in wanted or one not in former]
            return [*mine, *(one for one in wanted if one not in mine and one not in former)]
        if path in _DECIDED or base != wanted or (path == _TUNNELS and present is None):
            return present if base is None and present is not None and path not in _DECIDED else wanted
        return present


def agent_toml(node: Node, system: System) -> AgentToml:
    """Return ``agent.toml`` of a node on a machine. Raises ``Refused`` if the present file cannot be edited."""
    wanted = render("agent.toml", node_values(node))
    found = system.files.get(AGENT_TOML)
    if found is None or not found.content.strip():
        return AgentToml(wanted, wanted)
    try:
        present = read_toml(found.content)
    except ConfigError as error:
        raise Refused(_refusal(str(error), "a configuration in TOML, without placeholders")) from None
    last = _last_written(system)
    base = last if present and last else {}  # who leaves comments alone has removed no key in particular
    versions = _Versions(*(dict(leaves(one)) for one in (present, tomllib.loads(wanted), base)))
    merged = _merged(wanted, found.content.decode(), versions)
    return merged if last is not None else replace(merged, notes=(*merged.notes, _DAMAGED))


def _last_written(system: System) -> dict[str, Any] | None:
    """Return what setup wrote last; empty if it does not remember, ``None`` if the disk has damaged that."""
    found = system.files.get(AGENT_TOML_WRITTEN)
    try:
        return read_toml(found.content) if found else {}
    except ConfigError:
        return None


def _merged(wanted: str, text: str, versions: _Versions) -> AgentToml:
    present = versions.present
    values = {path: versions.value(path) for path in versions.wanted}
    written = {path: one for path, one in values.items() if one is not None and not _same(one, present.get(path))}
    removed = [
        path for path, one in versions.base.items() if path not in versions.wanted and _same(present.get(path), one)
    ]
    expected = {path: one for path, one in {**present, **written}.items() if path not in removed}
    result = edited(text, removed, written, comments_of(wanted)) if removed or written else text
    try:
        found = dict(leaves(tomllib.loads(result)))
        right = found.keys() == expected.keys() and all(_same(one, expected[path]) for path, one in found.items())
    except ValueError:
        right = False
    if not right:
        keys = ", ".join(map(dotted, (*written, *removed)))
        raise Refused(_refusal(f"it is in a form that setup cannot edit, and these keys must change: {keys}",
                               "each table with a header of its own, as `[bgp]`"))  # fmt: skip
    if len(result.encode()) > MAX_CONFIG_BYTES:
        raise Refused(_refusal(f"{len(result.encode())} bytes long then", f"at most {MAX_CONFIG_BYTES},"
                               " which is what the agent reads"))  # fmt: skip
    gone = (f"{AGENT_TOML}: {dotted(path)} = {value_text(present[path])} goes: setup writes it no longer"
            for path in removed)  # fmt: skip
    return AgentToml(result, wanted, (*_notes(versions, values), *gone))


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same in TOML, where 1, 1.0 and true are three."""
    return repr(one) == repr(other)


def _notes(versions: _Versions, values: Mapping[Path, Any]) -> Iterator[str]:
    for path, value in values.items():
        present, wanted = versions.present.get(path), versions.wanted[path]
        name = f"{AGENT_TOML}: {dotted(path)}"
        if present is None:
            if value is None:
                yield f"{name} stays away, as you removed it; setup's is {value_text(wanted)}"
        elif path in _LISTS and isinstance(present, list) and isinstance(wanted, list):
            if missing := [one for one in wanted if one not in value]:
                yield f"{name} stays without {', '.join(map(value_text, missing))}, which setup would have in it"
        elif not _same(value, present):
            if not _same(versions.base.get(path), present):
                yield f"{name} = {value_text(present)} becomes {value_text(value)}"
        elif not _same(present, wanted):
            yield f"{name} = {value_text(present)} stays; setup's is {value_text(wanted)}"


def _refusal(found: str, expected: str) -> Refusal:
    return Refusal(AGENT_TOML, found, expected, "correct it (`dmvpn-agent check` reads it), or move it away; then run"
                   " setup again")  # fmt: skip


def makes_tunnel(system: System) -> bool:
    """Tell whether the present file has the agent make gre1."""
    found = system.files.get(AGENT_TOML)
    try:
        values = read_toml(found.content) if found else {}
    except ConfigError:
        return False
    tunnel = values.get("tunnel", {})
    return isinstance(tunnel, dict) and "gre1" in tunnel
