"""Chains and revocation, by OpenSSL and by what the CAs meant. Nothing of the product is used."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509
from OpenSSL import crypto

from campaign.pki import Authority, Crl, Holder, canonical

_CRL_CHECK_ALL = 0x4 | 0x8
_EXTENDED_CRLS = 0x1000
_PARTIAL_CHAIN = 0x80000
#: How much two clocks may differ.
SKEW = timedelta(minutes=5)

warnings.filterwarnings("ignore", module="OpenSSL|cryptography|campaign")


def _certificate(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


@dataclass
class Trust:
    """What a node knows: the CA files, and the CRLs. ``seen`` are all there were since the agent started.

    ``shown``: the CAs that peers sent with their certificates.
    """

    authorities: list[Authority]
    intermediates: list[Authority]
    seen: list[Crl] = field(default_factory=list)
    shown: list[Authority] = field(default_factory=list)
    held: dict[tuple[int, object], list[Crl]] = field(default_factory=dict)
    _parsed: dict[int, crypto.X509] = field(default_factory=dict)
    _verdicts: dict[tuple[int, datetime, tuple[int, ...] | None], str] = field(default_factory=dict)

    def add(self, crls: tuple[Crl, ...], now: datetime) -> None:
        """Take other files in.

        Of a signer's lists, neither number nor date goes back; of those with the same, all count (docs/trust.md).
        """
        self.seen += [crl for crl in crls if not any(crl is known for known in self.seen)]
        signers: dict[tuple[int, object], list[Crl]] = {}
        for crl in crls:
            if crl.base is None and not crl.scope and not crl.sha1:
                signers.setdefault((crl.signer.key, canonical(crl.name)), []).append(crl)
        for signer, lists in signers.items():
            held = self.held.get(signer, [])
            due = [crl for crl in lists if crl.start <= now + SKEW] or ([] if held else lists)
            latest = max(due, key=lambda crl: (crl.number, crl.start), default=None)
            if latest and not any(latest.number < crl.number or latest.start < crl.start for crl in held):
                alike = [crl for crl in (*due, *held) if (crl.number, crl.start) == (latest.number, latest.start)]
                self.held[signer] = list({id(crl): crl for crl in alike}.values())

    def _in_force(self) -> list[Crl]:
        return [crl for lists in self.held.values() for crl in lists]

    def chain_fault(self, holder: Holder, now: datetime) -> str:
        """Return why OpenSSL finds no chain to a root of the files, or nothing.

        A CA of the files is the trust anchor itself while no peer has shown its issuer (docs/trust.md).
        """
        fault = self._verify(holder, now, None)
        if not fault:
            return ""
        known = [*self.authorities, *self.shown]
        anchors = [one for one in self.authorities if one.parent is None or one.parent not in known]
        return self._ask_openssl(holder, now, None, anchors, known)

    def crl_fault(self, holder: Holder, now: datetime) -> str:
        """Return why OpenSSL does not find the chain unrevoked by CRLs in force up to the root, or nothing.

        OpenSSL checks one list of a name, and fails if another key of that name signed it: a CA's own list and
        its CRL signer's cannot be told apart without authority keys. Then each CA must have a list of a key of its
        name below the same root (RFC 5280, section 6.3.3, f); ``revoked`` looks at what the lists say.
        """
        counting = [crl for crl in self._in_force() if crl.start <= now + SKEW and self._counts(crl, now)]
        fault = self._verify(holder, now, tuple(counting))
        if "signature failure" not in fault:
            return fault
        current = [crl for crl in counting if now <= crl.end]
        without = [one for one in holder.issuer.chain() if not any(self._covers(crl, one) for crl in current)]
        return f"no CRL of {without[0].label}" if without else ""

    def _verify(self, holder: Holder, now: datetime, crls: tuple[Crl, ...] | None) -> str:
        key = (id(holder), now, None if crls is None else tuple(map(id, crls)))
        if key not in self._verdicts:
            anchors = [one for one in self.authorities if one.parent is None]
            between = [*self.authorities, *self.intermediates]
            self._verdicts[key] = self._ask_openssl(holder, now, crls, anchors, between)
        return self._verdicts[key]

    def _read(self, item: Authority | Holder) -> crypto.X509:
        if id(item) not in self._parsed:
            self._parsed[id(item)] = _certificate(item.plain)
        return self._parsed[id(item)]

    def _ask_openssl(
        self,
        holder: Holder,
        now: datetime,
        crls: tuple[Crl, ...] | None,
        anchors: Iterable[Authority],
        others: Iterable[Authority],
    ) -> str:
        store = crypto.X509Store()
        for authority in anchors:
            store.add_cert(self._read(authority))
        store.set_time(now)
        store.set_flags(_PARTIAL_CHAIN)
        for crl in crls or ():
            store.add_crl(x509.load_der_x509_crl(crl.der))
        if crls is not None:
            store.set_flags(_CRL_CHECK_ALL | _EXTENDED_CRLS)
        between = [self._read(one) for one in others if one.parent]
        try:
            leaf = self._read(holder)
            crypto.X509StoreContext(store, leaf, between).verify_certificate()
        except crypto.X509StoreContextError as error:
            return f"{error.errors[1]}: {error}"
        except (crypto.Error, ValueError) as error:
            return f"unreadable: {error}"
        return ""

    def _counts(self, crl: Crl, now: datetime) -> bool:
        """Tell whether its signer is a CA of the files, or one that such a CA let sign CRLs in its name."""
        return crl.signer.crl_sign and any(self._speaks_for(crl, known) for known in self._known(now))

    def _known(self, now: datetime) -> list[Authority]:
        return [one for one in (*self.authorities, *self.intermediates) if self._anchored(one, now)]

    def _anchored(self, authority: Authority, now: datetime) -> bool:
        return authority.chain()[-1] in self.authorities and all(
            link.start <= now <= link.end and link.is_ca for link in authority.chain()
        )

    @staticmethod
    def _speaks_for(crl: Crl, authority: Authority) -> bool:
        same_name = canonical(crl.name) == canonical(authority.name)
        delegated = crl.signer.parent is authority and canonical(crl.signer.name) == canonical(authority.name)
        return same_name and (crl.signer is authority or delegated)

    def _covers(self, crl: Crl, authority: Authority) -> bool:
        names = {canonical(name) for name in (crl.name, crl.signer.name, authority.name)}
        return len(names) == 1 and crl.signer.chain()[-1] is authority.chain()[-1]

    def needs_unknown_signer(self, holder: Holder, now: datetime) -> bool:
        """Tell whether the chain is unrevoked only by lists whose signer the files do not name and no peer sent."""
        known = [*self.authorities, *self.shown]
        usable = {signer: lists for signer, lists in self.held.items() if any(crl.signer in known for crl in lists)}
        if len(usable) == len(self.held):
            return False
        return bool(replace(self, held=usable, _verdicts={}).crl_fault(holder, now))

    def revoked(self, serial: int, issuer: Authority) -> tuple[bool, bool]:
        """Return whether a list in force surely revokes what an issuer signed, and whether any list may."""
        mine = [crl for crl in self._in_force() if self._speaks_for(crl, issuer)]
        known = issuer in self.authorities
        surely = known and any(serial in crl.serials and crl.signer in self.authorities for crl in mine)
        loose = [crl for crl in self.seen if canonical(crl.name) == canonical(issuer.name)]
        return surely, surely or any(serial in crl.serials for crl in loose)

    def revocation(self, holder: Holder) -> tuple[str, str]:
        """Return what is surely revoked (``leaf``, ``authority`` or nothing), and what may be."""
        surely, maybe = self.revoked(holder.serial, holder.issuer)
        sure, perhaps = "leaf" if surely else "", "leaf" if maybe else ""
        for link in holder.issuer.chain():
            if link.parent:
                surely, maybe = self.revoked(link.serial, link.parent)
                sure = sure or ("authority" if surely else "")
                perhaps = perhaps or ("authority" if maybe else "")
        return sure, perhaps
