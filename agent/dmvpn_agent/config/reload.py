"""What of a changed configuration can be put in force while the agent runs."""

from dataclasses import dataclass, replace

from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.config.file import Config


@dataclass(frozen=True, slots=True)
class Reloaded:
    """``config`` is what can be put in force now, ``bgp`` what of its BGP part, if that is in use and wanted.

    ``restart_needed``: there is more, which only a restart puts in force.
    """

    config: Config
    bgp: BgpSettings | None
    restart_needed: bool


def reloaded(now: Config, wanted: Config) -> Reloaded:
    """Return what of a wanted configuration can replace the present one."""
    bgp = wanted.bgp and now.bgp and replace(wanted.bgp, as_number=now.bgp.as_number)
    switched = bool(wanted.redirect) != bool(now.redirect) or bool(wanted.bgp) != bool(now.bgp)
    return Reloaded(
        config=_on_the_interfaces_of(now, wanted),
        bgp=bgp,
        restart_needed=_rest(wanted, now) != now or bgp != wanted.bgp or switched,
    )


def _rest(wanted: Config, now: Config) -> Config:
    """Return a configuration with everything as it is now that needs no restart."""
    frr = replace(
        wanted.frr, coalesce=now.frr.coalesce, resync_interval=now.frr.resync_interval, linger=now.frr.linger
    )
    return replace(
        wanted, policy=now.policy, trust_files=now.trust_files, log=now.log, bgp=now.bgp, redirect=now.redirect,
        frr=frr, ike=replace(wanted.ike, ends_denied=now.ike.ends_denied),
    )  # fmt: skip


def _on_the_interfaces_of(now: Config, wanted: Config) -> Config:
    if wanted.tunnels == now.tunnels:
        return wanted
    # Rules without the rest of an interface would bind who is not watched.
    rules = {name: wanted.policy.rules[name] for name in now.interfaces if name in wanted.tunnels}
    redirect = wanted.redirect and replace(wanted.redirect, interfaces=now.interfaces)
    return replace(wanted, policy=replace(wanted.policy, rules=rules), redirect=redirect)
