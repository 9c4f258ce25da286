"""Which CRLs are in force: the newest of each signer."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import datetime
from pathlib import Path

from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.name import CanonicalName
from dmvpn_agent.x509.trust_store import SignedCrl, TrustStore


def _unused(store: TrustStore, offered: Sequence[tuple[Path, Crl]]) -> Iterator[str]:
    unused = {one.crl.digest: one.why for one in store.unused}
    for path, crl in offered:
        if crl.digest in unused:
            yield f"{path}: the CRL of {crl.issuer} {unused[crl.digest]}"


def _waiting(crls: Sequence[SignedCrl], kept: Set[str], until: datetime) -> list[SignedCrl]:
    """Return the lists dated later than ``until`` whose signer has another one that counts now.

    One that was in force before stays so: the clock may have been set back.
    """
    early = [crl for crl in crls if crl.crl.this_update > until and crl.crl.digest not in kept]
    served = {(crl.crl.name, crl.key) for crl in crls if crl not in early}
    return [crl for crl in early if (crl.crl.name, crl.key) in served]


def _early(crl: Crl) -> str:
    return (
        f"the CRL of {crl.issuer} {_numbered(crl)} is dated in the future and takes the former one's place then; if"
        " that is not meant, look whether the clocks of this node and of the CA are right"
    )


Newest = tuple[list[SignedCrl], list[tuple[SignedCrl, SignedCrl]], list[SignedCrl]]


def _newest(crls: Iterable[SignedCrl], offered: Set[str], kept: Set[str]) -> Newest:
    """Return each signer's newest list; older ones offered in its place, with it; and those not offered at all.

    Of lists that nothing says which is newer, all count: none takes back what another revokes.
    """
    signers: dict[tuple[CanonicalName, bytes], dict[str, SignedCrl]] = {}
    for crl in crls:
        signers.setdefault((crl.crl.name, crl.key), {})[crl.crl.digest] = crl
    newest, older, missing = [], [], []
    for lists in map(list[SignedCrl], map(dict.values, signers.values())):
        held = max((crl for crl in lists if crl.crl.digest in kept), key=_age, default=None)
        latest = max((crl for crl in lists if crl.crl.digest in offered), key=_age, default=None)
        first = held if held is not None and (latest is None or _is_older(latest.crl, held.crl)) else latest
        if first is None:
            continue
        newest += [first, *(crl for crl in lists if crl is not first and _is_alike(crl.crl, first.crl))]
        if latest is None:
            missing.append(first)
        elif first is not latest:
            older.append((latest, first))
    return newest, older, missing


def _age(signed: SignedCrl) -> tuple[int, object]:
    crl = signed.crl
    return crl.number if crl.number is not None else -1, crl.this_update


def _is_older(crl: Crl, held: Crl) -> bool:
    """Tell whether a list must not replace the one in force: of number and date, neither may go back."""
    numbered = crl.number is not None and held.number is not None and crl.number < held.number
    return numbered or crl.this_update < held.this_update


def _is_alike(crl: Crl, other: Crl) -> bool:
    """Tell whether neither number nor date says which of two lists is the newer one."""
    return crl.this_update == other.this_update and (crl.number == other.number or None in (crl.number, other.number))


def _several(newest: Iterable[SignedCrl]) -> Iterator[str]:
    lists = Counter((crl.crl.issuer, crl.crl.name, crl.key, crl.crl.this_update) for crl in newest)
    for (issuer, _, _, update), count in lists.items():
        if count > 1:
            yield (
                f"there are {count} CRLs of {issuer} of {update} that differ, and no number says which is the newer"
                " one: what any of them revokes counts; have the CA issue one with a higher number"
            )


def _numbered(crl: Crl) -> str:
    return f"(number {'none' if crl.number is None else crl.number}, of {crl.this_update})"


def _too_long(crl: Crl, limit: int) -> str:
    return (
        f"the CRL of {crl.issuer} is {len(crl.der)} bytes long, and charon takes {limit} at most over VICI: the"
        " agent enforces it, charon does not know it; have charon fetch it itself (crl_uris in an authorities section"
        " of swanctl.conf, and its curl or files plugin), or set ike.load_crls = false"
    )
