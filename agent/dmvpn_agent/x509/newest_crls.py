"""Which CRLs are in force: the newest of each signer. Neither number nor date may go back."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import datetime
from typing import NamedTuple

from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.crl_index import SignedCrl
from dmvpn_agent.x509.name import CanonicalName


class Rollback(NamedTuple):
    """An older CRL that was offered in place of the one in force."""

    offered: SignedCrl
    in_force: SignedCrl


class NewestCrls(NamedTuple):
    """The CRLs in force, the older ones offered in their place, and those in force that no file has any more."""

    in_force: list[SignedCrl]
    rollbacks: list[Rollback]
    missing: list[SignedCrl]


def newest_crls(crls: Iterable[SignedCrl], offered: Set[str], kept: Set[str]) -> NewestCrls:
    """Choose the newest CRLs of each signer; ``offered`` and ``kept`` are digests.

    If nothing shows which of several is newer, all are in force: none cancels what another revokes.
    """
    signers: dict[tuple[CanonicalName, bytes], dict[str, SignedCrl]] = {}
    for crl in crls:
        signers.setdefault((crl.crl.name, crl.key), {})[crl.crl.digest] = crl
    newest = NewestCrls([], [], [])
    for by_digest in signers.values():
        of_signer = list(by_digest.values())
        held = max((crl for crl in of_signer if crl.crl.digest in kept), key=_age, default=None)
        latest = max((crl for crl in of_signer if crl.crl.digest in offered), key=_age, default=None)
        first = held if held is not None and (latest is None or _is_older(latest.crl, held.crl)) else latest
        if first is None:
            continue
        newest.in_force.extend(
            [first, *(crl for crl in of_signer if crl is not first and _is_same_age(crl.crl, first.crl))]
        )
        if latest is None:
            newest.missing.append(first)
        elif first is not latest:
            newest.rollbacks.append(Rollback(latest, first))
    return newest


def postdated_crls(crls: Sequence[SignedCrl], kept: Set[str], until: datetime) -> list[SignedCrl]:
    """Return the CRLs dated later than ``until`` whose signer has another one that counts now.

    A kept CRL stays in force: the clock may have been set back.
    """
    early = [crl for crl in crls if crl.crl.this_update > until and crl.crl.digest not in kept]
    served = {(crl.crl.name, crl.key) for crl in crls if crl not in early}
    return [crl for crl in early if (crl.crl.name, crl.key) in served]


def postdated_problem(crl: Crl) -> str:
    """Return the message about a CRL dated in the future."""
    return (
        f"the CRL of {crl.issuer} {version_of(crl)} is dated in the future and replaces the former one then; if"
        " that is not intended, check the clocks of this node and of the CA"
    )


def ambiguity_problems(in_force: Iterable[SignedCrl]) -> Iterator[str]:
    """Yield a message for each signer of which several CRLs are in force."""
    counts = Counter((crl.crl.issuer, crl.crl.name, crl.key, crl.crl.this_update) for crl in in_force)
    for (issuer, _, _, update), count in counts.items():
        if count > 1:
            yield (
                f"there are {count} different CRLs of {issuer} of {update}, and no number shows which is newer;"
                " a certificate that any of them revokes is revoked; have the CA issue one with a higher number"
            )


def size_problem(crl: Crl, limit: int) -> str:
    """Return the message about a CRL that charon cannot be given."""
    return (
        f"the CRL of {crl.issuer} is {len(crl.der)} bytes long, and charon takes {limit} at most over VICI: the"
        " agent enforces it, charon does not know it; have charon fetch it itself (crl_uris in an authorities section"
        " of swanctl.conf, and its curl or files plugin), or set ike.load_crls = false"
    )


def version_of(crl: Crl) -> str:
    """Return number and date of a CRL, for messages."""
    return f"(number {'none' if crl.number is None else crl.number}, of {crl.this_update})"


def _age(signed: SignedCrl) -> tuple[int, object]:
    crl = signed.crl
    return crl.number if crl.number is not None else -1, crl.this_update


def _is_older(crl: Crl, held: Crl) -> bool:
    """Tell whether a CRL must not replace the one in force."""
    numbered = crl.number is not None and held.number is not None and crl.number < held.number
    return numbered or crl.this_update < held.this_update


def _is_same_age(crl: Crl, other: Crl) -> bool:
    """Tell whether neither number nor date shows which of two CRLs is newer."""
    return crl.this_update == other.this_update and (crl.number == other.number or None in (crl.number, other.number))
