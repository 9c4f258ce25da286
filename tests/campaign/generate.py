"""Random worlds: mostly honest ones, with a few things wrong. The same seed makes the same world."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from random import Random
from typing import Any

from campaign import asn1, happenings
from campaign.pki import Authority, Crl, Holder, Name, Resources
from campaign.policies import random_policy
from campaign.world import EAP, PSK, PUBKEY, World

NOW = datetime(2026, 3, 1, 12, 0)
YEAR = timedelta(days=365)
DAY = timedelta(days=1)

ROOT_NAME: Name = (("O", "lab", asn1.UTF8), ("CN", "DMVPN CA", asn1.UTF8))
SPELLINGS: tuple[Name, ...] = (
    (("O", "lab", asn1.PRINTABLE), ("CN", "DMVPN CA", asn1.PRINTABLE)),
    (("O", "LAB", asn1.PRINTABLE), ("CN", "dmvpn ca", asn1.PRINTABLE)),
    (("O", "lab", asn1.UTF8), ("CN", " DMVPN  CA ", asn1.UTF8)),
)


class Maker:
    """Makes the parts of one world."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seed = seed
        self._serial = 100
        self._key = 20

    def chance(self, share: float) -> bool:
        """Return True as often as this."""
        return self.random.random() < share

    def serial(self) -> int:
        """Return another serial number."""
        self._serial += 1
        return self._serial

    def key(self) -> int:
        """Return the number of another key."""
        self._key = 20 + (self._key - 19) % 40
        return self._key

    def authorities(self) -> tuple[list[Authority], list[Authority], dict[str, Authority]]:
        """Return the CAs of the files, those that peers send, and all by label."""
        root = Authority("root", ROOT_NAME, 0, None, NOW - 3 * YEAR, NOW + 5 * YEAR, sha1=self.chance(0.02))
        files: list[Authority] = [root]
        sent: list[Authority] = []
        if self.chance(0.3):
            sub = Authority("sub", (("O", "lab", asn1.UTF8), ("CN", "Site CA", asn1.UTF8)), 1, root, NOW - YEAR,
                            NOW + (timedelta(hours=2) if self.chance(0.1) else YEAR), 2,
                            path_length=self.random.choice([None, 0]))  # fmt: skip
            (files if self.chance(0.8) else sent).append(sub)
            if self.chance(0.3):
                lower = (("O", "lab", asn1.UTF8), ("CN", "Room CA", asn1.UTF8))
                (files if self.chance(0.8) else sent).append(
                    Authority("subsub", lower, 2, sub, NOW - YEAR, NOW + YEAR, 3)
                )
        if self.chance(0.15):
            spelling = self.random.choice((ROOT_NAME, *SPELLINGS))
            files.append(Authority("rekeyed", spelling, 3, None, NOW - YEAR, NOW + 5 * YEAR, 4))
        if self.chance(0.3):
            sent.append(Authority("rogue", self.random.choice((ROOT_NAME, SPELLINGS[0])), 4, None, NOW - YEAR,
                                  NOW + YEAR, 1))  # fmt: skip
        if self.chance(0.12):
            spelling = self.random.choice((ROOT_NAME, SPELLINGS[0]))
            signer = Authority("signer", spelling, 5, root, NOW - YEAR, NOW + YEAR, 5, is_ca=False, cert_sign=False)
            (files if self.chance(0.8) else sent).append(signer)
        if self.chance(0.05):
            old = (("O", "lab", asn1.UTF8), ("CN", "Old CA", asn1.UTF8))
            files.append(Authority("expired", old, 6, None, NOW - 3 * YEAR, NOW - DAY, 6))
        if self.chance(0.08):
            leaf = (("O", "lab", asn1.UTF8), ("CN", "spoke90", asn1.UTF8))
            sent.append(Authority("leaf", leaf, 7, root, NOW - YEAR, NOW + YEAR, 7, is_ca=False, cert_sign=False))
        if self.chance(0.15):
            files += self._with_resources(root)
        return files, sent, {one.label: one for one in (*files, *sent)}

    def _with_resources(self, root: Authority) -> list[Authority]:
        blocks = Resources((ip_network("192.168.0.0/17"), ip_network("10.255.0.0/24")), ((64512, 64999),))
        name = (("O", "lab", asn1.UTF8), ("CN", "Region CA", asn1.UTF8))
        region = Authority("region", name, 8, root, NOW - YEAR, NOW + YEAR, 8, resources=blocks)
        below = Resources(None, None)
        if self.chance(0.2):
            below = Resources((ip_network("192.168.0.0/16"),), None)
        elif self.chance(0.2):
            below = Resources((ip_network("192.168.0.0/18"),), ((64512, 64520),))
        name = (("O", "lab", asn1.UTF8), ("CN", "City CA", asn1.UTF8))
        city = Authority("city", name, 9, region, NOW - YEAR, NOW + YEAR, 9, resources=below)
        found = [region, city]
        if self.chance(0.3):  # the same name, other resources, by another key: inherit must not go by name
            wider = Resources((ip_network("192.168.0.0/16"),), ((64512, 65534),))
            found.append(Authority("region2", region.name, 10, root, NOW - YEAR, NOW + YEAR, 10, resources=wider))
        return found

    def holder(self, number: int, issuers: dict[str, Authority], *, hub: bool = False) -> Holder:
        """Return a peer's certificate; often honest."""
        label = self.random.choice([name for name in issuers if name not in ("signer", "rogue", "leaf", "expired")])
        if self.chance(0.5) or label == "rekeyed":
            label = self.random.choice(["root", label])
        if self.chance(0.06):
            label = self.random.choice(sorted(issuers))
        issuer = issuers[label]
        name = f"hub{number}" if hub else f"spoke{number}"
        own = f"10.255.0.{number}"
        net = ip_network(f"192.168.{number}.0/24")
        made = Holder(name, name, (), issuer, self.key(), NOW - timedelta(days=self.random.randrange(10, 300)),
                      NOW + YEAR, self.serial())  # fmt: skip
        style = self.random.random()
        if style < 0.6:
            made.units = (f"GRE={own}", f"AS={64512 + number}", f"NET={net}")
        elif style < 0.85:
            made.addresses = (own,)
            made.resources = Resources((net,), ((64512 + number, 64512 + number),))
            made.units = ("site",)
            if self.chance(0.15) and issuer.label in ("region", "city", "region2"):
                made.resources = Resources(None, ((64512 + number,) * 2,))
        else:
            made.units, made.addresses = (f"GRE={own}", f"AS={64512 + number}", f"NET={net}"), (own,)
        if hub and self.chance(0.5):
            made.units = ("Hubs", *made.units)
        elif hub:
            made.is_hub = True
        if self.chance(0.5):
            made.hosts = (f"{name}.example",)
        if self.chance(0.3):
            self._odd(made, number)
        return made

    def _odd(self, made: Holder, number: int) -> None:
        """Make a certificate odd in one way."""
        own, other = f"10.255.0.{number}", self.random.randrange(1, 8)
        units = list(made.units)

        def swap(old: str, new: str) -> None:
            made.units = tuple(new if unit.startswith(old) else unit for unit in units)

        spelling = self.random.choice(SPELLINGS)
        odd: list[Callable[[], None]] = [
            lambda: swap("GRE=", f"GRE={own}0"), lambda: swap("GRE=", f"GRE=010.255.0.{number}"),
            lambda: swap("GRE=", f"GRE= {own}"), lambda: swap("GRE=", f" GRE={own}"),
            lambda: swap("GRE=", f"gre={own}"), lambda: swap("GRE=", f"GRE={own}/32"),
            lambda: swap("GRE=", f"GRE=10.255.0.{other}"), lambda: swap("GRE=", "GRE=10.255.0.255"),
            lambda: swap("GRE=", "GRE=10.255.0.0"), lambda: swap("GRE=", f"GRE=10.254.0.{number}"),
            lambda: swap("AS=", "AS=0"), lambda: swap("AS=", f"AS=0{64512 + number}"), lambda: swap("AS=", "AS=1"),
            lambda: swap("AS=", "AS=-64513"), lambda: swap("AS=", "AS=65000"), lambda: swap("AS=", "AS=4294967297"),
            lambda: swap("AS=", "AS=AS64513"), lambda: swap("AS=", "nothing"), lambda: swap("NET=", "nothing"),
            lambda: swap("NET=", f"NET=192.168.{number}.1/24"), lambda: swap("NET=", "NET=0.0.0.0/0"),
            lambda: swap("NET=", f"NET=192.168.{number}.0"), lambda: swap("NET=", f"NET=192.168.{number}.0/33"),
            lambda: swap("NET=", f"NET=192.168.{other}.0/25"), lambda: swap("NET=", "NET=10.0.0.0/8"),
            lambda: swap("NET=", "NET=192.168.0.0/16"), lambda: swap("NET=", "NET=10.255.0.0/26"),
            lambda: swap("NET=", "NET=192.168.100.0/24"), lambda: swap("NET=", f"net=192.168.{number}.0/24"),
            lambda: swap("NET=", "NET=2001:db8:1::/48"), lambda: swap("GRE=", f"GRE=::ffff:{own}"),
            lambda: setattr(made, "units", (*units, f"NET=172.16.{number}.0/24")),
            lambda: setattr(made, "units", (*units, f"NET=192.168.{200 + number}.0/28")),
            lambda: setattr(made, "units", (*units, f"GRE=10.255.0.{100 + number}")),
            lambda: setattr(made, "units", (*units, "AS=64600")),
            lambda: setattr(made, "units", (*units, *(f"NET=192.168.{number}.{low}/32" for low in range(0, 40)))),
            lambda: setattr(made, "units", ("Hubs", *units)), lambda: setattr(made, "is_hub", True),
            lambda: made.__dict__.update(is_hub=False, units=("Hubs", *units)),
            lambda: setattr(made, "addresses", (f"10.255.0.{other}",)),
            lambda: setattr(made, "addresses", (*made.addresses, "203.0.113.7")),
            lambda: setattr(made, "resources", Resources((ip_network(f"192.168.{other}.0/24"),), ((64512, 64520),))),
            lambda: setattr(made, "resources", Resources((ip_network("192.168.0.0/16"),), ((64600, 64600),))),
            lambda: setattr(made, "resources", Resources(None, None)),
            lambda: setattr(made, "resources", Resources((ip_network("0.0.0.0/0"),))),
            lambda: setattr(made, "end", NOW - DAY), lambda: setattr(made, "start", NOW + DAY),
            lambda: setattr(made, "end", NOW + timedelta(hours=1)), lambda: setattr(made, "serial", -5),
            lambda: setattr(made, "serial", 2**200), lambda: setattr(made, "serial", 0),
            lambda: setattr(made, "common_name", ""), lambda: setattr(made, "common_name", f"Sp\u00f6ke{number}"),
            lambda: setattr(made, "common_name", f"spoke{number}, CN=spoke{other}"),
            lambda: setattr(made, "common_name", f"SPOKE{other}"), lambda: setattr(made, "tag", asn1.PRINTABLE),
            lambda: setattr(made, "padding", 2000), lambda: setattr(made, "sha1", True),
            lambda: setattr(made, "issuer_name", spelling if made.issuer.label == "root" else None),
            lambda: setattr(made, "hosts", (f"spoke{other}.example",)),
        ]  # fmt: skip
        self.random.choice(odd)()

    def renewed(self, holder: Holder) -> Holder:
        """Return the certificate that follows one: the same name, perhaps with other resources."""
        units = holder.units
        if self.chance(0.5):
            units = tuple(unit for unit in units if not unit.startswith("NET="))
            units += (f"NET=192.168.{self.random.randrange(1, 9)}.0/24",) if self.chance(0.5) else ()
        made = Holder(f"{holder.label}'", holder.common_name, units, holder.issuer, self.key(),
                      max(holder.start, NOW - 5 * DAY), holder.end + YEAR, self.serial(), holder.addresses,
                      holder.hosts, holder.resources, holder.is_hub, holder.tag)  # fmt: skip
        if self.chance(0.1):
            made.tag = asn1.PRINTABLE
        return made

    def imitation(self, holder: Holder, issuers: dict[str, Authority]) -> Holder:
        """Return another's attempt to have a certificate like this one."""
        issuer = issuers.get("rogue") if self.chance(0.6) else issuers.get("leaf")
        name = holder.common_name
        if issuer is None:
            issuer, name = holder.issuer, self.random.choice([name.upper(), f" {name}", f"{name}0", "other"])
        made = Holder(f"like {holder.label}", name, holder.units, issuer, self.key(), holder.start, holder.end,
                      holder.serial, holder.addresses, holder.hosts, holder.resources, holder.is_hub,
                      asn1.PRINTABLE if name.isascii() else asn1.UTF8)  # fmt: skip
        if issuer is holder.issuer:  # what a true CA signs, it answers for: not another's address
            made.serial, made.units = self.serial(), tuple(unit for unit in holder.units if "=" not in unit)
            made.addresses, made.hosts, made.resources = (), (), Resources()
        return made

    def beside(self, holders: list[Holder]) -> Authority:
        """Return a CA that is not the operator's, and add its certificate of a peer's name to the holders."""
        name = (("O", "office", asn1.UTF8), ("CN", "Office CA", asn1.UTF8))
        office = Authority("office", name, 11, None, NOW - YEAR, NOW + YEAR)
        victim = self.random.choice(holders)
        holders.append(replace(victim, label=f"office {victim.label}", issuer=office, key=self.key(),
                               serial=self.serial(), issuer_name=None))  # fmt: skip
        return office

    def crl(self, issuers: dict[str, Authority], holders: list[Holder], now: datetime) -> Crl:
        """Return a CRL; often a good one."""
        signers = [one for one in issuers.values() if one.label not in ("leaf", "expired")]
        signer = issuers["root"] if self.chance(0.5) else self.random.choice(signers)
        name = self.random.choice(SPELLINGS) if signer.label == "root" and self.chance(0.1) else signer.name
        of_signer = [holder.serial for holder in holders if holder.issuer is signer]
        of_signer += [one.serial for one in issuers.values() if one.parent is signer]
        if signer.label in ("rogue", "signer", "rekeyed") or self.chance(0.05):
            of_signer += [holder.serial for holder in holders]
            name = signer.name if self.chance(0.7) else ROOT_NAME
        serials = tuple(serial for serial in of_signer if self.chance(0.25))
        start = now - timedelta(hours=self.random.randrange(1, 48))
        made = Crl("crl", signer, name, self.random.randrange(1, 6), start, start + timedelta(days=7), serials)
        kind = self.random.random()
        if kind < 0.06:
            made.start, made.end = now - 9 * DAY, now - 2 * DAY
        elif kind < 0.1:
            made.start, made.end = now + DAY, now + 8 * DAY
        elif kind < 0.16:
            made.scope = self.random.choice(["users", "authorities", "reasons", "indirect", "part"])
        elif kind < 0.22:
            made.base, made.removed = 1, tuple(serial for serial in of_signer if self.chance(0.2))
        elif kind < 0.26:
            made.authority_key = False
        elif kind < 0.28:
            made.sha1 = True
        elif kind < 0.34:
            made.end = now + timedelta(hours=3)
        return made


def make_world(seed: int) -> World:
    """Return the world of this seed."""
    make = Maker(seed)
    role = "hub" if make.chance(0.7) else "spoke"
    files, sent, issuers = make.authorities()
    numbers = make.random.sample(range(1, 9), make.random.choice([1, 2, 2, 3]))
    holders = [make.holder(number, issuers) for number in numbers]
    if role == "spoke" or make.chance(0.3):
        holders.append(make.holder(make.random.choice([240, 241]), issuers, hub=True))
    if make.chance(0.3):
        holders.append(make.renewed(make.random.choice(holders)))
    if make.chance(0.35):
        holders.append(make.imitation(make.random.choice(holders), issuers))
    beside = make.beside(holders) if make.chance(0.08) else None
    bgp: dict[str, Any] | None = {
        "as_number": 65000, "peer_group": "spokes", "hub_peer_group": "hubs", "ibgp_peer_group": "ibgp",
    }  # fmt: skip
    if role == "spoke" and make.chance(0.4):
        bgp = None
    elif make.chance(0.2) and bgp:
        bgp["ipv6"] = True
    interfaces = {"gre1": "dmvpn", **({"gre2": "second"} if make.chance(0.15) else {})}
    connections: dict[str, tuple[str, ...]] = dict.fromkeys(interfaces.values(), (PUBKEY,))
    connections["office"] = make.random.choice([(PSK,), (PUBKEY,), (EAP,)])
    if make.chance(0.12):
        connections["dmvpn"] = make.random.choice([(PUBKEY, PSK), (PUBKEY, EAP), (PSK, PUBKEY), (PUBKEY, PUBKEY)])
    elif make.chance(0.1):
        connections["dmvpn"] = make.random.choice([(PSK,), (EAP,)])
    elif "second" in connections and make.chance(0.4):
        connections["second"] = (PSK,)
    crls = tuple(make.crl(issuers, holders, NOW) for _ in range(make.random.choice([0, 0, 1, 1, 2, 3])))
    world = World(
        seed, make.chance(0.35), role, interfaces, connections, {"gre1": "10.255.0.254", "gre2": "10.255.0.253"},
        random_policy(make.random, role, holders, tuple(interfaces)), bgp, files, sent, crls,
        [holder.der for holder in holders if make.chance(0.1)], NOW, [], holders,
        beside, beside is not None and make.chance(0.4),
    )  # fmt: skip
    happenings.fill(make, world, issuers)
    return world
