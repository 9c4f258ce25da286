"""Checks of nhrpd's configuration."""

from collections.abc import Iterator

from dmvpn_agent.doctor.check import Check, Level, result, unknown
from dmvpn_agent.doctor.node import FAMILIES, Expected, NhrpdView, Unknown


def nhrpd_checks(nhrpd: NhrpdView | Unknown, expected: Expected) -> Iterator[Check]:
    """Yield the checks of nhrpd."""
    if isinstance(nhrpd, Unknown):
        yield unknown("nhrpd", nhrpd, "set nhrpd=yes in /etc/frr/daemons, and start FRR")
        return
    yield result("nhrp event socket", nhrpd.event_socket == expected.event_socket, nhrpd.event_socket or "none",
                 f"{expected.event_socket}: without it nhrpd accepts every peer",
                 f"in frr.conf: nhrp event socket {expected.event_socket}")  # fmt: skip
    if expected.nflog_group is not None:
        yield result("nhrp nflog-group", nhrpd.nflog_group == expected.nflog_group, nhrpd.nflog_group or "none",
                     f"{expected.nflog_group}, as in redirect.nflog_group",
                     f"in frr.conf: nhrp nflog-group {expected.nflog_group}")  # fmt: skip
    if expected.multicast_group is not None:
        yield from _multicast(nhrpd, expected)
    for name, vrf in expected.vrfs.items():
        yield Check(f"VRF of {name}", Level.WARNING, vrf,
                    "the default VRF: nhrpd up to FRR 10.7 ignores interfaces of others",
                    f'tunnel.{name}.vrf = "default"; an uplink in a VRF is tunnel.{name}.device')  # fmt: skip
    for name, profile in expected.tunnels.items():
        found = nhrpd.profiles.get(name)
        yield result(f"profile on {name}", found == profile, found or "none", f"{profile}, as in nhrp.interfaces",
                     f"in frr.conf: interface {name}, tunnel protection vici profile {profile}")  # fmt: skip
        for version in sorted(expected.ip_versions[name]):
            yield from _nhrp(nhrpd, name, version, redirects=expected.nflog_group is not None)


def _multicast(nhrpd: NhrpdView, expected: Expected) -> Iterator[Check]:
    """Check that nhrpd copies multicast packets to peers."""
    group = expected.multicast_group
    yield result("nhrp multicast-nflog-group", nhrpd.multicast_group == group, nhrpd.multicast_group or "none",
                 f"{group}, as in multicast.nflog_group",
                 f"in frr.conf: nhrp multicast-nflog-group {group}")  # fmt: skip
    for name in expected.tunnels:
        there = (name, 4) in nhrpd.multicasts
        yield result(f"ip nhrp map multicast on {name}", there, "configured" if there else "missing",
                     "the peers that get a copy of multicast packets",
                     f"in frr.conf: interface {name}, ip nhrp map multicast dynamic on a hub; on a spoke the hub's"
                     " NBMA address in place of dynamic")  # fmt: skip


def _nhrp(nhrpd: NhrpdView, interface: str, version: int, *, redirects: bool) -> Iterator[Check]:
    """Check the lines of an interface for protocol addresses of one IP version."""
    family = FAMILIES[version]
    there = (interface, version) in nhrpd.networks
    yield result(f"{family} nhrp network-id on {interface}", there, "configured" if there else "missing",
                 f"configured, because a tunnel network is IPv{version}",
                 f"in frr.conf: interface {interface}, {family} nhrp network-id 1")  # fmt: skip
    if redirects:
        there = (interface, version) in nhrpd.redirects
        yield result(f"{family} nhrp redirect on {interface}", there, "configured" if there else "missing",
                     "configured: without it there are no shortcuts",
                     f"in frr.conf: interface {interface}, {family} nhrp redirect", Level.WARNING)  # fmt: skip
