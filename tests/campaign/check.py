"""One world: the product runs through it, the oracle checks every answer, every peer and every filter."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from campaign.asn1 import Network
from campaign.oracle import Grant, Opinion, Oracle, proved_certificate, proved_shared_key
from campaign.pki import Holder, canonical
from campaign.prefix_lists import PrefixLists
from campaign.product import Product, Refused
from campaign.trust import Trust
from campaign.virtual_loop import VirtualLoop
from campaign.world import PUBKEY, Ask, Crls, Down, Later, Reload, Restart, Sa, Up, World
from dmvpn_agent.admission.peer_index import Membership

#: Seconds that the bridge may take, after a question, for the answer to wait: the agent reads every two here, and
#: gives up after four.
SAID_IN_TIME = 1.9
#: Seconds after an IKE_SA came by which its name counts: the agent awaits the bridge for ten, and judges all peers
#: every ten.
PUT_OUT_BY = 22


@dataclass
class Result:
    """What came of worlds: counts, and findings (kind, what it is about, seed)."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str, int]] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        """Take in what came of others."""
        self.counts += other.counts
        self.findings += other.findings


class Check:
    """Compares a product with the oracle through one world."""

    def __init__(self, world: World, folder: Path, *, verbose: bool = False) -> None:
        self._world = world
        self._folder = folder
        self._verbose = verbose
        self.result = Result()
        self._restarted, self._started = False, 0.0
        self._trust = Trust(world.authorities, world.intermediates)
        self._trust.add(world.crls, world.now)
        self._files = world.crls
        self._policy = world.policy
        self._by_der = {holder.der: holder for holder in world.holders}
        self._by_print = {sha256(holder.der).hexdigest(): holder for holder in world.holders}
        self._shown: dict[str, list[Holder]] = {}
        self._filters_seen: set[Any] = set()

    def run(self) -> Result:
        """Live through the world."""
        loop = VirtualLoop()
        try:
            loop.run_until_complete(self._live())
        finally:
            loop.close()
        self.result.counts["worlds"] += 1
        return self.result

    async def _live(self) -> None:
        try:
            self._product = Product(self._world, self._folder, self._world.now)
        except Refused as error:
            self._say("refused", str(error))
            self.result.counts["refused configurations"] += 1
            return
        await self._product.start()
        try:
            for step in self._world.steps:
                self._say("step", step)
                await self._step(step)
                self._look_at_peers(step)
        finally:
            await self._product.stop()

    async def _step(self, step: Any) -> None:
        product = self._product
        if isinstance(step, Up):
            self._trust.shown += step.sa.holder.issuer.chain()[:-1] if step.sa.holder else []
            await product.up(step.sa, step.sent)
        elif isinstance(step, Down):
            await product.down(step.number)
        elif isinstance(step, Ask):
            await self._ask(step)
        elif isinstance(step, Crls):
            self._trust.add(step.crls, product.clock().replace(tzinfo=None))
            self._files = step.crls
            await product.put_crls(step.crls)
        elif isinstance(step, Later):
            await product.skip(step.seconds)
            self._trust.add(self._files, product.clock().replace(tzinfo=None))
            await product.read_trust_again()
        elif isinstance(step, Reload):
            try:
                await product.reload(step.policy)
                self._policy = step.policy
            except Refused as error:
                self._say("refused", str(error))
                self.result.counts["refused configurations"] += 1
        elif isinstance(step, Restart):
            self._restarted, self._started = True, product.uptime().total_seconds()
            await product.restart_agent()

    def _oracle(self) -> Oracle:
        return Oracle(self._world, self._policy, self._trust, self._product.clock().replace(tzinfo=None))

    def _at(self, nbma: str) -> list[Sa]:
        return [sa for sa in self._product.charon.sas.values() if sa.nbma == nbma]

    def _of_interface(self, ask: Ask, sas: list[Sa]) -> list[Sa]:
        connection = self._world.interfaces.get(ask.interface)
        return [sa for sa in sas if sa.nbma == ask.nbma and sa.connection == connection]

    def _opinions(self, ask: Ask, sas: list[Sa]) -> Iterator[Opinion]:
        oracle = self._oracle()
        for sa in sas:
            rounds = self._world.connections[sa.connection]
            if sa.connection != self._world.interfaces.get(ask.interface):
                yield Opinion({"other_connection"})
            elif proved_certificate(sa, rounds) and sa.holder:
                yield oracle.by_certificate(sa.holder, sa.identity, ask)
            elif proved_shared_key(rounds):
                yield oracle.by_row(sa.identity, ask)
            else:
                yield Opinion({"proved_nothing"})
        if self._policy.get("confirm_certificates") is False:
            # Without confirmation what an IKE_SA proved stays in force, also a certificate that nhrpd cannot hold.
            gone = [sa.holder for sa in self._product.charon.gone if sa.nbma == ask.nbma and sa.holder]
            for holder in (*self._shown.get(ask.nbma, []), *gone):
                yield oracle.by_certificate(holder, holder.text(), ask)

    def _is_awaited(self, sa: Sa) -> bool:
        """Tell whether the bridge has yet to say which certificate an IKE_SA has."""
        by_certificate = set(self._world.connections[sa.connection]) == {PUBKEY}
        return not self._world.patched and by_certificate and self._product.charon.age(sa) < sa.late

    def _stays(self, member: Membership, ask: Ask, sas: list[Sa]) -> Iterator[Opinion]:
        """Yield the opinion on an accepted peer while the bridge has not said which certificate its IKE_SA has.

        Soon after the IKE_SA came, or the agent started, it stays; later only if it has the name.
        """
        holder = self._by_print.get(member.peer.fingerprint)
        for sa in filter(self._is_awaited, sas):
            if holder is None:
                continue
            young = (
                min(self._product.charon.age(sa), self._product.uptime().total_seconds() - self._started) < PUT_OUT_BY
            )
            if young or sa.identity.lower() in {one.lower() for one in (holder.text(), *holder.hosts)}:
                yield self._oracle().by_certificate(holder, holder.text(), ask)

    async def _ask(self, ask: Ask) -> None:
        shown = ask.stale.der if ask.stale else self._product.nhrpd.shown.get(ask.nbma, b"")
        if holder := self._by_der.get(shown):
            self._shown.setdefault(ask.nbma, []).append(holder)
        sas = self._at(ask.nbma)
        opinions = list(self._opinions(ask, sas))
        must = self._must(ask, opinions, shown)
        accepted = await self._product.ask(ask)
        # Afterwards: the bridge may have said it while the answer waited.
        for sa, opinion in zip(sas, opinions, strict=False):
            if self._is_awaited(sa) and self._policy.get("confirm_certificates") is not False:
                opinion.wrong.add("awaited")
        counts = self.result.counts
        counts["questions"] += 1
        counts["accepts" if accepted else f"denied: {self._product.reason}"] += 1
        if must:
            counts["questions that must be accepted"] += 1
        elif not any(opinion.may for opinion in opinions):
            counts["questions that must be denied"] += 1
        self._say("answer", f"{'accept' if accepted else self._product.reason}; oracle: {opinions}")
        if accepted and not any(opinion.may for opinion in opinions):
            self._find_accept("wrong accept", self._why(opinions), ask, self._at(ask.nbma))
        if must and not accepted:
            self._find("wrong denial", self._product.reason)

    def _must(self, ask: Ask, opinions: list[Opinion], shown: bytes) -> bool:
        """Tell whether an accept is due: one peer there, whom the documents leave in no doubt."""
        sas = self._at(ask.nbma)
        if len(sas) != 1 or ask.stale or not opinions or not opinions[0].must:
            return False
        (sa,) = sas
        if self._is_awaited(sa) and sa.late - self._product.charon.age(sa) > SAID_IN_TIME:
            return False
        rounds, holder = self._world.connections[sa.connection], sa.holder
        if self._world.beside and not self._world.names_authorities and not self._world.patched:
            return False
        if rounds != (PUBKEY,) or holder is None or holder.serial <= 0 or holder.serial >= 2**159:
            return False
        if not all(link in self._world.authorities for link in holder.issuer.chain()):
            return False
        if sa.identity not in (holder.text() if len(holder.text()) < 400 else "", *holder.hosts):
            return False
        if "?" in sa.identity or ", CN=" in holder.common_name or self._has_double(holder):
            return False
        if len(shown) and shown != holder.der:
            return False
        return not self._in_the_way(ask, holder)

    def _has_double(self, holder: Holder) -> bool:
        return any(
            other is not holder
            and (canonical(other.name) == canonical(holder.name) or set(other.hosts) & set(holder.hosts))
            for other in self._world.holders
        )

    def _in_the_way(self, ask: Ask, holder: Holder) -> bool:
        """Tell whether an accepted peer of another name has the address, a prefix or the NBMA address."""
        mine = {ip_network(text.partition("=")[2], strict=False) for text in holder.units if text.startswith("NET=")}
        if not isinstance(holder.resources.blocks, str):
            mine |= set(holder.resources.blocks or [ip_network("0.0.0.0/0")])
        for peer in self._product.peers:
            other = self._by_print.get(peer.fingerprint)
            if other is not None and _who(other) == _who(holder):
                continue
            if ask.address == str(peer.protocol_address) or ask.nbma == str(peer.nbma_address):
                return True
            if any(one.version == net.version and one.overlaps(net) for one in mine for net in peer.prefixes):
                return True
        return False

    def _look_at_peers(self, step: Any) -> None:
        lines = self._product.written()
        lists = PrefixLists(lines)
        neighbors = _neighbors(lines)
        members = {str(member.peer.protocol_address): member for member in self._product.peers.memberships()}
        for address in neighbors.keys() - members.keys():
            self._find("neighbor of nobody", address)
        after = type(step).__name__
        grants: dict[str, list[Grant]] = {}
        sure: set[str] = set()
        for address, member in members.items():
            request = member.request
            ask = Ask(request.interface, str(request.binding_type), address, str(request.nbma_address))
            sas = self._of_interface(ask, self._at(ask.nbma)) or self._of_interface(ask, self._product.charon.gone)
            opinions = list(self._opinions(ask, sas))
            opinions += self._stays(member, ask, sas)
            if not sas and self._restarted:  # who was accepted stays after a restart, until charon shows another peer
                oracle = self._oracle()
                opinions += [oracle.by_certificate(one, one.text(), ask) for one in self._shown.get(ask.nbma, [])]
            good = [opinion for opinion in opinions if opinion.may]
            self.result.counts["peers checked"] += 1
            if not good:
                self._say("peer", f"{member.peer}; oracle: {opinions}")
                self._find_accept("wrong peer", f"after {after}: {self._why(opinions)}", ask, sas)
                continue
            grants[address] = [grant for opinion in good for grant in opinion.grants]
            if not self._world.patched:
                for sa in sas:
                    for double in self._world.holders:
                        if sa.holder and double is not sa.holder and _who(double) == _who(sa.holder):
                            grants[address] += self._oracle().by_certificate(double, sa.identity, ask).grants
            holder = sas[0].holder if sas else None
            if len(sas) == 1 and good[0].must and holder and self._by_print.get(member.peer.fingerprint) is holder:
                sure.add(address)
        everything = [prefix for own in grants.values() for grant in own for prefix in grant.prefixes]
        for address, own in grants.items():
            if address in neighbors:
                self._look_at_filter(address, neighbors[address], lists, own, everything, sure=address in sure)
        self._look_for_overlaps()

    def _look_at_filter(
        self,
        address: str,
        neighbor: list[str],
        lists: PrefixLists,
        grants: list[Grant],
        others: list[Network],
        *,
        sure: bool,
    ) -> None:
        names = {4: "", 6: ""}
        for line in neighbor:
            words = line.split()
            if words[2:3] == ["prefix-list"]:
                names[6 if words[3].endswith("-in6") else 4] = words[3]
        if not names[4]:
            self._find("no filter", address)
            return
        self.result.counts["filters"] += 1
        key = (tuple(lists.text(name) for name in names.values()), repr(grants), sure)
        if key in self._filters_seen:
            return
        self._filters_seen.add(key)
        for prefix in _samples(grants, others):
            if prefix.version == 6 and not (self._world.bgp or {}).get("ipv6"):
                continue
            permitted = bool(names[prefix.version]) and lists.permits(names[prefix.version], prefix)
            objections = [grant.objection(prefix) for grant in grants]
            self.result.counts["prefixes tried"] += 1
            if permitted and all(objections):
                self._say("filter", f"{address} {prefix}: {objections} {grants}")
                self._find("wrong prefix", "/".join(sorted(set(objections))))
            elif not permitted and sure and grants[0].must(prefix):
                self._say("filter", f"{address} {prefix}: refused; {grants}")
                self._find("wrongly refused prefix", "own prefix")

    def _look_for_overlaps(self) -> None:
        peers = [(peer, self._by_print.get(peer.fingerprint)) for peer in self._product.peers]
        for index, (one, holder) in enumerate(peers):
            for two, other in peers[index + 1 :]:
                if holder is None or other is None or _who(holder) == _who(other):
                    continue
                if str(one.kind) == "hub" or str(two.kind) == "hub":
                    continue
                if any(
                    a.version == b.version and a.prefixlen and b.prefixlen and a.overlaps(b)
                    for a in one.prefixes for b in two.prefixes
                ):  # fmt: skip
                    self._say("overlap", f"{one}\n{two}")
                    self._find("overlap", "two peers hold one prefix")

    @staticmethod
    def _why(opinions: list[Opinion]) -> str:
        if not opinions:
            return "nobody there"
        best = min(opinions, key=lambda opinion: len(opinion.wrong))
        return ", ".join(sorted(best.wrong))

    def _find_accept(self, kind: str, what: str, ask: Ask, sas: list[Sa]) -> None:
        """Note an accept; apart, if the peer has another certificate of its name: charon does not say which."""
        if not self._world.patched and any(self._by_another(sa, ask) for sa in sas if not self._is_awaited(sa)):
            self.result.counts[f"{kind} by another certificate of the same peer"] += 1
            self._say("twin", what)
        else:
            self._find(kind, what)

    def _by_another(self, sa: Sa, ask: Ask) -> bool:
        if sa.holder is None or PUBKEY not in self._world.connections[sa.connection]:
            return False
        doubles = [one for one in self._world.holders if one is not sa.holder and _who(one) == _who(sa.holder)]
        return any(self._oracle().by_certificate(one, sa.identity, ask).may for one in doubles)

    def _find(self, kind: str, what: str) -> None:
        self.result.findings.append((kind, what, self._world.seed))
        self.result.counts[kind] += 1
        self._say("FINDING", f"{kind}: {what}")

    def _say(self, what: str, about: object) -> None:
        if self._verbose:
            clock = self._product.clock() - timedelta(0) if hasattr(self, "_product") else ""
            print(f"{clock} {what}: {about}")


def _who(holder: Holder) -> tuple[Any, ...]:
    """Return who a certificate's holder is: issuer and subject without the OUs that name resources."""
    own = tuple(
        part for part in canonical(holder.name)
        if not (part[0] == "OU" and part[1].startswith(("gre=", "as=", "net=")))
    )  # fmt: skip
    return canonical(holder.issuer_name or holder.issuer.name), own


def _neighbors(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        words = line.split()
        if words[:1] == ["neighbor"]:
            found.setdefault(words[1], []).append(line.strip())
    return found


def _samples(grants: list[Grant], others: list[Network]) -> set[Network]:
    """Return prefixes to try: one's own, inside and around them, the forbidden ones, the tunnel, others'."""
    near = {net for grant in grants for net in (*grant.prefixes, *grant.forbidden, *grant.tunnel, *grant.allowed)}
    near |= {*others, ip_network("0.0.0.0/0"), ip_network("::/0"), ip_network("10.0.0.0/8"), ip_network("8.8.8.0/24")}
    found = set(near)
    for net in near:
        found |= _around(net, frozenset(grant.longest[net.version] for grant in grants))
    return found


@lru_cache(maxsize=4096)
def _around(net: Network, longest: frozenset[int]) -> frozenset[Network]:
    found: set[Network] = set()
    whole = net.max_prefixlen
    for longer in {net.prefixlen + 1, 25, 27, whole} | longest | {length + 1 for length in longest}:
        if net.prefixlen < longer <= whole:
            found.add(type(net)((int(net.network_address), longer)))
            found.add(type(net)((int(net.broadcast_address) >> (whole - longer) << (whole - longer), longer)))
    if net.prefixlen:
        found.add(net.supernet())
        found.add(net.supernet(new_prefix=max(net.prefixlen - 8, 1)))
    return frozenset(found)
