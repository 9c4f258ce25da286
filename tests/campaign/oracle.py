"""Who may be let in and announce what: the RFCs and the policy's documentation, written down a second time.

Nothing here imports the product. ``wrong`` are reasons for which a peer must be denied; ``doubts`` are where the
documents leave both answers open. A peer with neither must be accepted.
"""

from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any
from unicodedata import normalize

from campaign.asn1 import Network
from campaign.pki import Holder
from campaign.rules import Address, Claims, claims_of, effective, forms, matches
from campaign.trust import Trust
from campaign.world import PSK, PUBKEY, Ask, Sa, World


@dataclass
class Grant:
    """What a peer may announce: inside ``prefixes`` if it is no transit peer, else inside ``allowed`` as well."""

    prefixes: set[Network] = field(default_factory=set)
    allowed: list[Network] = field(default_factory=list)
    forbidden: list[Network] = field(default_factory=list)
    tunnel: list[Network] = field(default_factory=list)
    default_route: bool = False
    longest: dict[int, int] = field(default_factory=dict)
    quarantined: bool = False
    transit: bool = False

    def objection(self, prefix: Network) -> str:
        """Return why this must not be announced, or nothing."""
        if self.quarantined:
            return "quarantined"
        if prefix.prefixlen == 0:
            if not self.default_route:
                return "default_route"
        elif within_any(prefix, self.forbidden):
            return "forbidden"
        elif within_any(prefix, self.tunnel) and not self.transit:
            return "tunnel"
        elif prefix not in self.prefixes and any(within(net, prefix) for net in self.forbidden):
            return "covers_forbidden"
        elif prefix not in self.prefixes and not self.transit and any(within(net, prefix) for net in self.tunnel):
            return "covers_tunnel"
        if prefix.prefixlen > self.longest[prefix.version] and not (self.transit and within_any(prefix, self.tunnel)):
            return "too_long"
        own = [*self.prefixes, *self.allowed, *(self.tunnel if self.transit else [])]
        return "" if within_any(prefix, own) else "not_its_own"

    def must(self, prefix: Network) -> bool:
        """Tell whether it has to be able to announce this."""
        return prefix in self.prefixes and not self.objection(prefix)


@lru_cache(maxsize=65536)
def within(inner: Network, outer: Network) -> bool:
    """Tell whether a network lies in another."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def within_any(inner: Network, outers: Any) -> bool:
    """Tell whether a network lies in one of several."""
    return any(within(inner, outer) for outer in outers)


@dataclass
class Opinion:
    """What the documents say of one credential at one question."""

    wrong: set[str] = field(default_factory=set)
    doubts: set[str] = field(default_factory=set)
    grants: list[Grant] = field(default_factory=list)

    @property
    def may(self) -> bool:
        """Whether an accept is in order."""
        return not self.wrong

    @property
    def must(self) -> bool:
        """Whether a denial is out of order."""
        return not self.wrong and not self.doubts


_network = lru_cache(maxsize=4096)(ip_network)


def _networks(texts: list[str]) -> list[Network]:
    return [_network(text) for text in texts]


@dataclass
class Oracle:
    """A node's documents: its configuration, what it trusts, the time."""

    world: World
    policy: dict[str, Any]
    trust: Trust
    now: datetime

    def by_certificate(self, holder: Holder, identity: str, ask: Ask) -> Opinion:
        """Return the opinion on a peer that proved a certificate."""
        claims = claims_of(holder, self.policy)
        names: dict[str, tuple[str, ...]] = {
            "subject": forms(holder.name),
            "issuer": forms(holder.issuer_name or holder.issuer.name),
        }
        opinion = self._by_claims(claims, ask, names)
        self._by_trust(holder, opinion)
        self._by_maintenance(opinion, (*forms(holder.name), identity), holder.serial, _is_host(claims, ask))
        for row in self.policy.get("peer", []):
            named = (*forms(holder.name), identity, *holder.hosts)
            if row.get("override") and any(fnmatchcase(one, row["identity"]) for one in named):
                in_place = _row_claims(row, claims)
                other = self._by_claims(in_place, ask, names)
                self._by_trust(holder, other)
                self._by_maintenance(other, (*forms(holder.name), identity), holder.serial, _is_host(in_place, ask))
                if other.may and not opinion.may:
                    opinion, other = other, opinion
                opinion.doubts.add("override")
                if opinion.may and other.may:
                    opinion.grants += other.grants
        return opinion

    def by_row(self, identity: str, ask: Ask) -> Opinion:
        """Return the opinion on a peer with a pre-shared key: the best of the rows that name it."""
        best = Opinion({"no_row"})
        rows = [row for row in self.policy.get("peer", []) if fnmatchcase(identity, row["identity"])]
        for row in rows:
            claims = _row_claims(row, Claims())
            opinion = self._by_claims(claims, ask, {})
            self._by_maintenance(opinion, (identity,), None, _is_host(claims, ask))
            opinion.doubts |= {"several_rows"} if len(rows) > 1 else set()
            if opinion.may or best.wrong == {"no_row"}:
                best = opinion
        return best

    def _kinds(self, claims: Claims, ask: Ask, opinion: Opinion) -> list[str]:
        if self.world.role == "hub":
            return ["hub" if claims.hub else "spoke", *(["hub"] if ask.kind == "nhs" and not claims.hub else [])]
        if ask.kind == "nhs":
            return ["hub"]
        if claims.hub:
            opinion.doubts.add("hub_by_shortcut")
            return ["hub", "shortcut"]
        return ["shortcut"]

    def _by_claims(self, claims: Claims, ask: Ask, names: dict[str, tuple[str, ...]]) -> Opinion:
        opinion = Opinion(set(claims.wrong), set(claims.doubts))
        if ask.interface not in self.world.interfaces:
            opinion.wrong.add("interface")
        views = []
        for kind in self._kinds(claims, ask, opinion):
            view = Opinion(set(opinion.wrong), set(opinion.doubts))
            rules = effective(self.policy, self.world.role, ask.interface, kind)
            self._by_rules(claims, ask, rules, kind, names, view)
            views.append(view)
        best = min(views, key=lambda view: (len(view.wrong), len(view.doubts)))
        best.doubts |= {"kind"} if any(view.wrong != best.wrong for view in views) else set()
        best.grants = [grant for view in views if view.may for grant in view.grants]
        return best

    def _by_rules(
        self,
        claims: Claims,
        ask: Ask,
        rules: dict[str, Any],
        kind: str,
        names: dict[str, tuple[str, ...]],
        view: Opinion,
    ) -> None:
        if not rules["allowed"]:
            view.wrong.add("not_allowed")
        if rules["require_hub_role"] and not claims.hub:
            view.wrong.add("no_hub_role")
        for what in ("issuer", "subject"):
            if rules[what + "s"] and names:
                surely, maybe = matches(rules[what + "s"], *names[what])
                if not maybe:
                    view.wrong.add(what + "_pattern")
                elif not surely:
                    view.doubts.add(what + "_pattern")
        tunnel = _networks(rules["tunnel_networks"])
        self._by_address(claims, ask, rules, tunnel, view)
        self._by_number(claims, rules, kind, view)
        self._by_prefixes(claims, rules, tunnel, view)
        allowed = _networks(rules["allowed_networks"])
        # What a certificate says that a peer carries for others gives it nothing beyond what the policy does.
        own = {one for one in claims.prefixes if within_any(one, allowed)} if rules["transit"] else claims.prefixes
        view.grants = [
            Grant(
                own, allowed if rules["transit"] else [],
                _networks(rules["forbidden_networks"]), tunnel, rules["allow_default_route"],
                {4: rules["max_prefix_length"], 6: rules["max_prefix_length_ipv6"]}, transit=rules["transit"],
            )
        ]  # fmt: skip

    def _by_address(
        self, claims: Claims, ask: Ask, rules: dict[str, Any], tunnel: list[Network], view: Opinion
    ) -> None:  # fmt: skip
        address: Address = ip_address(ask.address)
        host = ip_network(address)
        if not claims.addresses:
            view.wrong.add("no_address")
        if len(claims.addresses) > rules["max_protocol_addresses"]:
            view.wrong.add("too_many_addresses")
        if any(not within_any(ip_network(one), tunnel) for one in claims.addresses):
            view.doubts.add("other_address_outside_tunnel")
        if any(
            ip_address(one) in (net.network_address, net.broadcast_address)
            for one in claims.addresses
            for net in tunnel
        ):
            view.doubts.add("other_address_reserved")
        behind = self.world.role == "spoke" and ask.kind != "nhs" and within_any(host, claims.prefixes)
        if address in claims.addresses:
            if not within_any(host, tunnel):
                view.wrong.add("address_outside_tunnel")
            if any(address in (net.network_address, net.broadcast_address) for net in tunnel):
                view.wrong.add("reserved_address")
            if ask.address in self.world.own_addresses.values():
                view.wrong.add("own_address")
        elif not behind:
            view.wrong.add("address_mismatch")
        elif within_any(host, tunnel):
            view.wrong.add("host_in_tunnel")

    def _by_number(self, claims: Claims, rules: dict[str, Any], kind: str, view: Opinion) -> None:
        bgp = self.world.bgp
        strict = bgp is not None and self.world.role == "hub"
        complaints = view.wrong if strict else view.doubts
        if len(claims.numbers) > 1 or any(low != high for low, high in claims.numbers):
            view.wrong.add("several_as_numbers")
        elif bgp is not None and not claims.numbers:
            complaints.add("no_as_number")
        for low, high in claims.numbers:
            ranges = [tuple(map(int, (text.split("-") * 2)[:2])) for text in rules["as_numbers"]]
            own = bgp["as_number"] if bgp else None
            if low == high == own:
                if not rules["allow_ibgp"]:
                    complaints.add("own_as")
                elif not any(first <= low and high <= last for first, last in ranges):
                    view.doubts.add("ibgp_outside_ranges")
            elif not any(first <= low and high <= last for first, last in ranges):
                complaints.add("as_outside_ranges")

    def _by_prefixes(self, claims: Claims, rules: dict[str, Any], tunnel: list[Network], view: Opinion) -> None:
        if len(claims.prefixes) > rules["max_prefixes"]:
            view.wrong.add("too_many_prefixes")
        carries = view.doubts if rules["transit"] else view.wrong
        for prefix in claims.prefixes:
            longest = rules["max_prefix_length" if prefix.version == 4 else "max_prefix_length_ipv6"]
            if prefix.prefixlen > longest:
                carries.add("prefix_too_long")
            if prefix.prefixlen == 0:
                if not rules["allow_default_route"]:
                    view.wrong.add("default_route")
                view.doubts.add("default_route")
                continue
            if not within_any(prefix, _networks(rules["allowed_networks"])):
                carries.add("prefix_not_allowed")
            if _overlaps(prefix, tunnel):
                carries.add("prefix_overlaps_tunnel")
            if _overlaps(prefix, _networks(rules["forbidden_networks"])):
                carries.add("prefix_forbidden")

    def _by_trust(self, holder: Holder, opinion: Opinion) -> None:
        if not holder.start <= self.now <= holder.end:
            opinion.wrong.add("expired")
        if self.trust.chain_fault(holder, self.now):
            opinion.wrong.add("chain")
        surely, maybe = self.trust.revocation(holder)
        if surely:
            opinion.wrong.add(f"revoked_{surely}")
        elif maybe:
            opinion.doubts.add(f"revoked_{maybe}")
        if self.policy.get("require_crl") and (fault := self.trust.crl_fault(holder, self.now)):
            # OpenSSL finds no list of a CRL signer for that signer's own certificate: it does not look twice.
            complaints = opinion.doubts if "CRL path validation" in fault else opinion.wrong
            complaints.add(f"require_crl ({fault})")
        elif self.policy.get("require_crl") and self.trust.needs_unknown_signer(holder, self.now):
            opinion.doubts.add("require_crl (the certificate of the CRL's signer is not known)")
        if any(crl.sha1 or crl.scope or crl.base is not None for crl in self.trust.seen):
            opinion.doubts.add("crl_without_effect")
        if holder.sha1 or any(link.sha1 for link in holder.issuer.chain()):
            opinion.doubts.add("sha1")

    def _by_maintenance(self, opinion: Opinion, written: tuple[str, ...], serial: int | None, host: bool) -> None:
        for row in self.policy.get("maintenance", []):
            if "serial" in row:
                hit = serial is not None and serial == int(row["serial"].replace(":", ""), 16)
            else:
                pattern = _compared(row["identity"])
                hit = any(fnmatchcase(_compared(form), pattern) for form in written)
                if not hit and any(fnmatchcase(_dense(form), _dense(pattern)) for form in written):
                    opinion.doubts.add("maintenance")  # white space where a value begins or ends
            if hit and (row["action"] == "deny" or host):
                opinion.wrong.add("maintenance")
            elif hit:
                for grant in opinion.grants:
                    grant.quarantined = True


def _dense(text: str) -> str:
    return "".join(_compared(text).split())


def _compared(text: str) -> str:
    """Return a name's text as RFC 5280, section 7.1, compares it."""
    return " ".join(normalize("NFKC", text).casefold().split())


def _is_host(claims: Claims, ask: Ask) -> bool:
    """Tell whether a question is about a host behind the peer: such a binding cannot be put in quarantine."""
    return ip_address(ask.address) not in claims.addresses


def _overlaps(prefix: Network, others: list[Network]) -> bool:
    return any(prefix.version == other.version and prefix.overlaps(other) for other in others)


def _row_claims(row: dict[str, Any], named: Claims) -> Claims:
    """Return what a row of ``[[policy.peer]]`` names, in place of what a certificate names of that kind."""
    number = row.get("as_number")
    return Claims(
        {ip_address(text) for text in row["protocol_addresses"]} or named.addresses,
        [(number, number)] if number is not None else named.numbers,
        {ip_network(text) for text in row.get("prefixes", [])} or named.prefixes,
        row.get("role", "spoke") == "hub",
        doubts={"no_as_number"} if number is None else set(),
    )


def proved_certificate(sa: Sa, rounds: tuple[str, ...]) -> bool:
    """Tell whether an IKE_SA of a connection with these rounds proves a certificate's key."""
    return PUBKEY in rounds and sa.holder is not None


def proved_shared_key(rounds: tuple[str, ...]) -> bool:
    """Tell whether a connection authenticates its peers by a pre-shared key alone."""
    return bool(rounds) and set(rounds) == {PSK}
