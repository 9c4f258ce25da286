"""Finds out what charon there is: whether it has VICI, and Alpine's patches for nhrpd."""

import asyncio
from contextlib import suppress
from pathlib import Path

from dmvpn_agent.charon.events import PATCHED_EVENT
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.charon.vici_client import ViciSession
from dmvpn_agent.runtime.telemetry import Telemetry

_PLUGINS = (
    "/usr/lib/ipsec/plugins",
    "/usr/lib/strongswan/plugins",
    "/usr/lib64/strongswan/plugins",
    "/usr/libexec/ipsec/plugins",
    "/usr/lib64/ipsec/plugins",
)
_CHARONS = (
    "/usr/sbin/charon-systemd",
    "/usr/lib/ipsec/charon",
    "/usr/lib/strongswan/charon",
    "/usr/libexec/ipsec/charon",
)
_VICI_SOCKETS, _SECONDS = ("/run/charon.real.vici", "/run/charon.vici"), 5.0


async def find_charon() -> tuple[bool | None, bool]:
    """Return whether charon has VICI, ``None`` if there is no charon; and whether it has Alpine's patches."""
    answer = await _is_patched()
    return (_has_vici(), _is_plugin_patched()) if answer is None else (True, answer)


def _vici_plugin() -> Path | None:
    places = (Path(folder, "libstrongswan-vici.so") for folder in _PLUGINS)
    return next((place for place in places if place.exists()), None)


def _has_vici() -> bool | None:
    plugin = _vici_plugin()
    return plugin is not None if plugin or any(Path(one).exists() for one in _CHARONS) else None


async def _is_patched() -> bool | None:
    """Ask the running charon whether it has Alpine's patches: whether it knows their event.

    ``None`` if it does not answer. A link is the bridge's, which confirms the event to nhrpd.
    """
    for path in _VICI_SOCKETS:
        if Path(path).is_symlink():
            continue
        with suppress(OSError, TimeoutError, CharonLost, CommandFailed):
            async with asyncio.timeout(_SECONDS):
                streams = await asyncio.open_unix_connection(path)
                session = ViciSession(*streams, Telemetry(), _SECONDS, max_waiting_events=100)
                try:
                    return await session.register(PATCHED_EVENT)
                finally:
                    await session.close()
    return None


def _is_plugin_patched() -> bool:
    """Tell whether the plugin of a charon that does not run has the patches: the event's name is in it."""
    plugin = _vici_plugin()
    with suppress(OSError):
        return plugin is not None and PATCHED_EVENT.encode() in plugin.read_bytes()
    return False
