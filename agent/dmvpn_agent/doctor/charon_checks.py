"""Checks of charon: native or bridged, the profiles, certificates, plugins, AppArmor and trap policies."""

from collections.abc import Iterator
from datetime import timedelta

from dmvpn_agent.charon.sa import Authentication
from dmvpn_agent.doctor.check import Check, Level, result, unknown
from dmvpn_agent.doctor.node import NHRPD_VICI, CharonView, Expected, NodeView, TrapPolicy, Unknown

#: Time before the end of a certificate from which on its renewal is due.
RENEWAL = timedelta(days=14)
#: charon allocates reqids from here on.
FIRST_ALLOCATED_REQID = 16384


def charon_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of charon."""
    charon = node.charon
    if isinstance(charon, Unknown):
        do = f"start strongSwan; its charon.plugins.vici.socket must be ike.vici_socket ({expected.vici_socket})"
        yield unknown("charon", charon, do)
        return
    yield Check("charon", Level.OK, f"{charon.version}, {'patched' if charon.patched else 'unpatched'}")
    yield _mode(charon, node.sockets["nhrpd's charon"].leads_to, expected)
    for profile in sorted(set(expected.tunnels.values())):
        yield from _profile(charon, profile, expected)
    yield from _certificates(charon, node)
    loaded = "updown" in charon.plugins
    yield result("plugin updown", not loaded, "loaded" if loaded else "off",
                 "off: with this plugin, any user of charon's socket can run commands as root",
                 "set charon.plugins.updown.load = no, as in swanctl/strongswan-bridged.conf, and restart strongSwan",
                 Level.WARNING)  # fmt: skip
    if isinstance(node.swanctl_confined, Unknown):
        yield unknown("AppArmor", node.swanctl_confined, "mount securityfs")
    elif node.swanctl_confined:
        yield Check("AppArmor", Level.WARNING, f"swanctl's profile does not allow {expected.vici_socket}",
                    "a profile that lets swanctl open it; Linux 7 and Ubuntu's kernels refuse it otherwise",
                    "add one line to the profile: deploy/README.md, AppArmor")  # fmt: skip


def _mode(charon: CharonView, leads_to: str, expected: Expected) -> Check:
    """Check that nhrpd uses the bridge if charon is unpatched, and charon itself if it is patched."""
    bridged, direct = leads_to == expected.bridge_socket, leads_to == expected.vici_socket
    mode = "bridged" if bridged else "native" if direct else f"neither: {NHRPD_VICI} leads to {leads_to}"
    found = f"{mode}, charon is {'patched' if charon.patched else 'unpatched'}"
    if charon.patched:
        do = f"stop the bridge, remove the link {NHRPD_VICI}, use swanctl/native.conf and restart strongSwan"
        level = Level.WARNING if bridged else Level.FAULT
        return result("mode", direct, found, "native: nhrpd works with a patched charon itself", do, level)
    do = f"start dmvpn-bridge; its service links {NHRPD_VICI} to {expected.bridge_socket}"
    return result("mode", bridged, found, "bridged: nhrpd cannot work with an unpatched charon", do)


def _profile(charon: CharonView, profile: str, expected: Expected) -> Iterator[Check]:
    loaded, mode = profile in charon.modes, charon.modes.get(profile)
    found = f"mode {mode}" if mode else "a connection without a child of this name" if loaded else "no connection"
    yield result(f"profile {profile}", mode == "TRANSPORT", found,
                 f"a connection {profile} with a child {profile}, mode = transport",
                 "add it as in the examples in swanctl/, then run `swanctl --load-all`")  # fmt: skip
    if loaded:
        method = charon.methods.get(profile, Authentication.OTHER)
        yield _authentication(profile, method, expected)
        if method is Authentication.PUBLIC_KEY and not charon.patched and charon.foreign_authorities:
            yield _authorities(profile, charon)


def _authorities(profile: str, charon: CharonView) -> Check:
    """Check that a connection takes no certificate of a CA that is not the operator's."""
    others = "; ".join(charon.foreign_authorities)
    any_ca = profile in charon.of_any_ca
    found = f"any that charon trusts; it lists {others}" if any_ca else "named by `cacerts`"
    return result(f"CAs of {profile}", not any_ca, found,
                  "`cacerts`: policy.ca_certificates lacks these, and if charon trusts one of them, the bridge gives"
                  " the profile's peers no certificate",
                  f"set `cacerts` to the DMVPN's CA in the remote section of {profile}, then `swanctl --load-all`",
                  Level.WARNING)  # fmt: skip


def _authentication(profile: str, method: Authentication, expected: Expected) -> Check:
    """Check that the peers of a profile authenticate by certificate, or by a key for which the policy has rows."""
    name, shown = f"authentication in {profile}", method.replace("_", " ")
    if method is Authentication.PRE_SHARED_KEY:
        return result(name, expected.serves_keys, shown, "a [[policy.peer]] without `override` for each of its peers",
                      "add one for each peer, or use certificates: `auth = pubkey` in remote")  # fmt: skip
    found = "several methods, EAP or XAuth, or `auth` is not set" if method is Authentication.OTHER else shown
    return result(name, method is Authentication.PUBLIC_KEY, found,
                  "public key in every remote round: otherwise a peer can use the identity of another one",
                  f"set `auth = pubkey` in each remote section of {profile}, then `swanctl --load-all`")  # fmt: skip


def _certificates(charon: CharonView, node: NodeView) -> Iterator[Check]:
    if not charon.certificates:
        yield Check("own certificate", Level.WARNING, "charon has no certificate with its private key",
                    "one, unless this node authenticates by a pre-shared key",
                    "install it in /etc/swanctl/x509 and its key in /etc/swanctl/private, then run"
                    " `swanctl --load-creds`")  # fmt: skip
    for own in charon.certificates:
        found = f"{own.subject}, valid {own.not_before:%Y-%m-%d} to {own.not_after:%Y-%m-%d}"
        valid = own.not_before <= node.now <= own.not_after
        ends_soon = valid and own.not_after - node.now < RENEWAL
        yield result("own certificate", valid and not ends_soon, found,
                     f"valid now ({node.now:%Y-%m-%d %H:%M} UTC) and for {RENEWAL.days} days more",
                     "check this node's clock, then renew the certificate",
                     Level.WARNING if ends_soon else Level.FAULT)  # fmt: skip


def trap_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of the trap policies, which the bridge needs."""
    if isinstance(node.charon, Unknown) or node.charon.patched:
        return
    traps = node.traps
    if isinstance(traps, Unknown):
        yield unknown("trap policy", traps, "install iproute2: `ip xfrm policy` must show GRE policies")
        return
    count = len(set(expected.tunnels.values()))
    do = "set start_action = trap in the child, then run `swanctl --load-conns`"
    if count > 1:
        do += "; each of several profiles needs a local_ts of its own (swanctl/several-profiles.conf)"
    yield result("trap policy", len(traps) >= count, "; ".join(_trap_text(trap) for trap in traps) or "none",
                 f"{count}: for each profile one for GRE from its addresses to 0.0.0.0/0", do)  # fmt: skip
    if traps:
        numbers = [trap.reqid for trap in traps]
        is_set = all(0 < number < FIRST_ALLOCATED_REQID for number in numbers)
        yield result("reqid", len(set(numbers)) == len(numbers) and is_set, ", ".join(map(str, numbers)),
                     f"set in each child, different for each profile, and below {FIRST_ALLOCATED_REQID}",
                     "set reqid = 1 in the child, reqid = 2 in that of a second profile")  # fmt: skip


def _trap_text(trap: TrapPolicy) -> str:
    return f"from {trap.source}, reqid {trap.reqid}, {trap.mode}"
