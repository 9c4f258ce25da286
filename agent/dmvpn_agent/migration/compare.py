"""``explain --compare``: for each certificate in a folder, the decision of the former script and the agent's."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmvpn_agent.addresses import Address, covers
from dmvpn_agent.admission.prefix_index import PrefixIndex
from dmvpn_agent.bridge.nhrpd_sections import NHRPD_MAX_CERTIFICATE
from dmvpn_agent.explain.certificate_input import CertificateInput, InputError, read_certificate_file
from dmvpn_agent.explain.context import JudgingContext, load_context
from dmvpn_agent.explain.judging import Question, explain
from dmvpn_agent.explain.report_json import decision_json
from dmvpn_agent.migration.old_script import OldScript, OldVerdict, also_accepted, old_verdict
from dmvpn_agent.policy.decision import Accept, Decision
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import say, say_json
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.certificate import BadCertificate, Certificate

SAME, RESOURCES, CONFLICTING = "same", "other resources", "accepted before, one of several now"


@dataclass(frozen=True, slots=True)
class Row:
    """One certificate, and one address that its peer could request; ``None`` if it names none.

    ``what`` is the difference between the two decisions, ``why`` the reasons for it.
    """

    file: str
    address: Address | None
    old: OldVerdict
    new: Decision
    what: str
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of a folder.

    ``skipped``: files without a certificate. ``shared``: filters that several peers shared under the script.
    ``sites``: prefixes that several peers of one site share under the agent.
    """

    script: OldScript
    rows: tuple[Row, ...]
    skipped: tuple[str, ...]
    shared: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    @property
    def different(self) -> bool:
        """Tell whether any decision differs."""
        return any(row.what != SAME for row in self.rows)


def run(folder: Path, script: OldScript, question: Question, config: Path, as_json: bool) -> int:
    """Print the comparison; return the exit status. Raises ``ConfigError`` and ``RequestError``."""
    context = load_context(config)
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise RequestError(Code.USAGE, f"{folder}: {error.strerror}; expected a folder with certificates") from error
    compared = compare(files, script, question, context)
    if as_json:
        say_json("compare/1", _json(compared))
    else:
        say(_text(compared))
    return Exit.DEGRADED if compared.different else Exit.HEALTHY


def compare(files: list[Path], script: OldScript, question: Question, context: JudgingContext) -> Comparison:
    """Judge the certificates in these files by the script and by the agent."""
    rows: list[Row] = []
    skipped = []
    for file in files:
        try:
            given = read_certificate_file(file)
        except InputError as error:
            skipped.append(str(error))
            continue
        rows += _rows(file.name, given, script, question, context)
    rows = list(_with_conflicts(rows))
    shared = tuple(_shared_filters(rows)) if script is OldScript.GUIDE else ()
    return Comparison(script, tuple(rows), tuple(skipped), shared, tuple(_sites(rows)))


def _rows(
    name: str, given: CertificateInput, script: OldScript, question: Question, context: JudgingContext
) -> Iterator[Row]:
    certificate = given.certificate
    if certificate is None:
        return
    report = explain(given, question, context)
    if isinstance(certificate, Certificate) and len(certificate.der) > NHRPD_MAX_CERTIFICATE:
        certificate = BadCertificate("nhrpd keeps no certificate of this size")
    addresses = {answer.request.protocol_address for answer in report.answers} if report.address_known else set()
    kinds = context.config.policy.rules.get(report.answers[0].request.interface, {}).values()
    tunnel = tuple(dict.fromkeys(network for rules in kinds for network in rules.tunnel_networks))
    for answer in report.answers:
        address = answer.request.protocol_address if report.address_known else None
        old = old_verdict(script, certificate, address, context.config.role)
        row = _row(name, address, old, answer.explanation.decision, context)
        # Beside an IPv4 address, an IPv6 address leads to no BGP neighbor, neither before nor now.
        alone = address is None or address.version == 4 or all(one.version == 6 for one in addresses)
        yield row if alone or row.what != RESOURCES else replace(row, what=SAME, why=())
    for address in also_accepted(script, certificate, tunnel):
        if address not in addresses:
            old = old_verdict(script, certificate, address, context.config.role)
            (answer,) = explain(given, replace(question, address=address), context).answers
            yield _row(name, address, old, answer.explanation.decision, context)


def _row(name: str, address: Address | None, old: OldVerdict, new: Decision, context: JudgingContext) -> Row:
    what, why = SAME, tuple[str, ...]()
    if not isinstance(new, Accept):
        if old.accepts:
            what, why = "accepted before, denied now", (f"before: {old.why}", f"now: {new}")
    elif not old.accepts:
        what, why = "denied before, accepted now", (f"before: {old.why}",)
    elif new.peer is not None and context.config.bgp is not None:
        why = tuple(_differences(old, new.peer))
        what = RESOURCES if why else SAME
    return Row(name, address, old, new, what, why)


def _differences(old: OldVerdict, peer: Peer) -> Iterator[str]:
    if old.as_number != peer.as_number:
        yield f"AS number: before {old.as_number or 'none'}, now {peer.as_number or 'none'}"
    if peer.transit is None:
        lost = [prefix for prefix in old.prefixes if prefix not in peer.prefixes]
        gained = [prefix for prefix in peer.prefixes if prefix not in old.prefixes]
    else:
        carried = [network for network, _ in peer.transit]
        lost = [prefix for prefix in old.prefixes if not any(covers(network, prefix) for network in carried)]
        gained = [network for network in carried if not any(covers(prefix, network) for prefix in old.prefixes)]
    if lost:
        yield f"no longer: {', '.join(str(prefix) for prefix in lost)}"
    if gained:
        yield f"only now: {', '.join(str(prefix) for prefix in gained)}"
    longest = peer.max_prefix_length[0]
    if old.longest not in {None, longest} and old.prefixes:
        yield f"subnets of them: before up to /{old.longest}, now up to /{longest} (policy.max_prefix_length)"
    yield from (f"before: {note}" for note in old.notes)


def _with_conflicts(rows: list[Row]) -> Iterator[Row]:
    """Yield the rows; of peers with the same resources, mark all but the first if the policy accepts only one."""
    held, files = PrefixIndex(), dict[str, str]()
    for row in rows:
        peer = row.new.peer if isinstance(row.new, Accept) else None
        others = held.conflicting(peer) if peer is not None else ()
        if peer is not None:
            held.add(peer)
            files.setdefault(peer.identity, row.file)
        if others and row.old.accepts:
            names = ", ".join(sorted({files[other.identity] for other in others}))
            why = f"now: {names} has the same address or prefixes, and one is accepted at a time (policy.on_conflict)"
            yield replace(row, what=CONFLICTING, why=(*row.why, why))
        else:
            yield row


def _sites(rows: list[Row]) -> Iterator[str]:
    """Yield the prefixes that several peers of one site share."""
    sites: dict[str, dict[str, Peer]] = {}
    for row in rows:
        if isinstance(row.new, Accept) and row.new.peer is not None and row.new.peer.site:
            sites.setdefault(row.new.peer.site, {})[row.file] = row.new.peer
    for members in sites.values():
        if len({peer.identity for peer in members.values()}) > 1:
            prefixes = next(iter(members.values())).prefixes
            yield f"{', '.join(map(str, prefixes))}: {', '.join(members)}"


def _shared_filters(rows: list[Row]) -> Iterator[str]:
    """Yield the prefix-lists that several certificates share: the guide's script names them by AS number."""
    holders: dict[int, set[str]] = {}
    for row in rows:
        if row.old.accepts and row.old.as_number is not None:
            holders.setdefault(row.old.as_number, set()).add(row.file)
    for number, files in sorted(holders.items()):
        if len(files) > 1:
            yield f"net-{number}-in of {', '.join(sorted(files))}: each could announce the prefixes of all of them"


def _text(compared: Comparison) -> str:
    rows = (
        (row.file, row.address or "-", _word(row.old.accepts), _word(isinstance(row.new, Accept)),
         "" if row.what == SAME else row.what)
        for row in compared.rows
    )  # fmt: skip
    parts = [
        f"Compared with the script `{compared.script}`; --script selects one: {', '.join(OldScript)}.",
        table(("FILE", "ADDRESS", "BEFORE", "NOW", "DIFFERENCE"), rows, 60) if compared.rows else "No certificates.",
    ]
    if compared.different:
        parts.append("\n".join(["WHY", *map(printable, _reasons(compared))]))
    if compared.shared:
        parts.append("\n".join(["FILTERS that peers with one AS number shared before, and no longer share:",
                                *(f"  {printable(text)}" for text in compared.shared)]))  # fmt: skip
    if compared.sites:
        parts.append("\n".join(["PREFIXES that peers of one site share:",
                                *(f"  {printable(text)}" for text in compared.sites)]))  # fmt: skip
    if compared.skipped:
        parts.append("\n".join(["SKIPPED", *(f"  {printable(text)}" for text in compared.skipped)]))
    counts = Counter(row.what for row in compared.rows)
    parts.append(
        f"{len(compared.rows)} judged: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) + "."
    )
    return "\n\n".join(parts)


def _reasons(compared: Comparison) -> Iterator[str]:
    for row in compared.rows:
        if row.what != SAME:
            yield f"  {row.file}, {row.address or 'no address'}: {row.what}"
            yield from (f"    {reason}" for reason in row.why)


def _word(accepts: bool) -> str:
    return "accept" if accepts else "deny"


def _json(compared: Comparison) -> dict[str, Any]:
    return {
        "different": compared.different,
        "script": str(compared.script),
        "certificates": [
            {
                "file": row.file,
                "protocol_address": None if row.address is None else str(row.address),
                "before": {
                    "decision": _word(row.old.accepts),
                    "why": row.old.why,
                    "as_number": row.old.as_number,
                    "prefixes": [str(prefix) for prefix in row.old.prefixes],
                    "notes": list(row.old.notes),
                },
                "now": decision_json(row.new),
                "difference": None if row.what == SAME else row.what,
                "why": list(row.why),
            }
            for row in compared.rows
        ],
        "shared_filters": list(compared.shared),
        "sites": list(compared.sites),
        "skipped": list(compared.skipped),
    }
