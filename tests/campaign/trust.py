"""Chains and revocation, by OpenSSL and by what the CAs meant. Nothing of the product is used."""

import warnings
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from OpenSSL import crypto

from campaign.pki import Authority, Crl, Holder, canonical

_CRL_CHECK_ALL = 0x4 | 0x8
_EXTENDED_CRLS = 0x1000

warnings.filterwarnings("ignore", module="OpenSSL|cryptography|campaign")


def _certificate(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


@dataclass
class Trust:
    """What a node knows: the CA files, and the CRLs. ``seen`` are all there were since the agent started."""

    authorities: list[Authority]
    intermediates: list[Authority]
    seen: list[Crl] = field(default_factory=list)
    _parsed: dict[int, crypto.X509] = field(default_factory=dict)
    _verdicts: dict[tuple[int, datetime, tuple[int, ...] | None], str] = field(default_factory=dict)

    def add(self, crls: tuple[Crl, ...]) -> None:
        """Take other files in; what was a file stays in force where no newer one replaces it."""
        self.seen += [crl for crl in crls if not any(crl is known for known in self.seen)]

    def chain_fault(self, holder: Holder, now: datetime) -> str:
        """Return why OpenSSL finds no chain to a root of the files, or nothing."""
        return self._verify(holder, now, None)

    def crl_fault(self, holder: Holder, now: datetime) -> str:
        """Return why OpenSSL does not find the chain unrevoked by CRLs in force up to the root, or nothing."""
        return self._verify(holder, now, tuple(self._newest(now)))

    def _verify(self, holder: Holder, now: datetime, crls: tuple[Crl, ...] | None) -> str:
        key = (id(holder), now, None if crls is None else tuple(map(id, crls)))
        if key not in self._verdicts:
            self._verdicts[key] = self._ask_openssl(holder, now, crls)
        return self._verdicts[key]

    def _read(self, item: Authority | Holder) -> crypto.X509:
        if id(item) not in self._parsed:
            self._parsed[id(item)] = _certificate(item.der)
        return self._parsed[id(item)]

    def _ask_openssl(self, holder: Holder, now: datetime, crls: tuple[Crl, ...] | None) -> str:
        store = crypto.X509Store()
        for authority in self.authorities:
            if authority.parent is None:
                store.add_cert(self._read(authority))
        store.set_time(now)
        for crl in crls or ():
            store.add_crl(x509.load_der_x509_crl(crl.der))
        if crls is not None:
            store.set_flags(_CRL_CHECK_ALL | _EXTENDED_CRLS)
        between = [self._read(one) for one in (*self.authorities, *self.intermediates) if one.parent]
        try:
            leaf = self._read(holder)
            crypto.X509StoreContext(store, leaf, between).verify_certificate()
        except crypto.X509StoreContextError as error:
            return f"{error.errors[1]}: {error}"
        except (crypto.Error, ValueError) as error:
            return f"unreadable: {error}"
        return ""

    def _newest(self, now: datetime) -> list[Crl]:
        """Return the complete CRLs of trusted signers that no newer one of theirs replaced."""
        newest: dict[tuple[int, object], Crl] = {}
        for crl in self.seen:
            if crl.start > now or crl.base is not None or crl.scope or not self._counts(crl, now):
                continue
            key = (crl.signer.key, crl.scope)
            if key not in newest or (crl.number, crl.start) > (newest[key].number, newest[key].start):
                newest[key] = crl
        return list(newest.values())

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

    def revoked(self, holder: Holder | Authority, issuer: Authority, now: datetime) -> tuple[bool, bool]:
        """Return whether an issuer's newest complete CRL names a serial number, and whether any of them does."""
        lists = [
            crl for crl in self.seen
            if crl.start <= now and crl.signer.crl_sign and not crl.sha1 and self._speaks_for(crl, issuer)
        ]  # fmt: skip
        complete = [crl for crl in lists if crl.base is None and not crl.scope]
        by_number = max(complete, key=lambda crl: (crl.number, crl.start), default=None)
        by_time = max(complete, key=lambda crl: (crl.start, crl.number), default=None)
        newest = [crl for crl in (by_number, by_time) if crl]
        partial = [crl for crl in lists if (crl.base is not None or crl.scope) and crl.scope != "authorities"]
        known = issuer in self.authorities and self._anchored(issuer, now)
        known = known and all(crl.signer in self.authorities for crl in newest)
        surely = known and bool(newest) and all(holder.serial in crl.serials for crl in newest)
        if surely and any(holder.serial in crl.removed for crl in partial):
            surely = False
        maybe = surely or any(holder.serial in crl.serials for crl in (*newest, *partial))
        return surely, maybe

    def revocation(self, holder: Holder, now: datetime) -> tuple[str, str]:
        """Return what is surely revoked (``leaf``, ``authority`` or nothing), and what may be."""
        surely, maybe = self.revoked(holder, holder.issuer, now)
        if surely:
            return "leaf", "leaf"
        sure, perhaps = "", "leaf" if maybe else ""
        for link in holder.issuer.chain():
            if link.parent:
                surely, maybe = self.revoked(link, link.parent, now)
                sure = sure or ("authority" if surely else "")
                perhaps = perhaps or ("authority" if maybe else "")
        return sure, perhaps
