"""What the scripts that did this job before do with a certificate: to compare before a migration.

Two are known, and modelled by what they decide, flaws included:

- ``guide``: the ``opennhrp-script`` of the Alpine wiki, «Dynamic Multipoint VPN (DMVPN)», of which there are
  variants. It takes the subject's OUs as lines of text. The peer may register where ``^GRE=<address>`` finds one: a
  pattern that is not anchored at its end, and whose dots match any character. ``AS=`` and ``NET=`` go into vtysh as
  they are: ``neighbor … remote-as``, and ``ip prefix-list net-<AS>-in permit <NET> le 26``. Nothing of it is checked,
  and what vtysh says is not looked at.
- ``dmvpn-tools``: ``nhrp-events`` of that package (github.com/alpinelinux/dmvpn-tools). The peer may register the
  addresses of its subjectAltName, compared whole. On a hub a certificate without address blocks (RFC 3779) ends in a
  Lua error before the answer is written, so that nhrpd denies after 10 seconds; ranges and ``inherit`` are passed
  over; the first AS number is taken. Nothing is compared with any policy.

Neither looks at dates, CRLs or who else holds an address; charon looks at the former two.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, ip_address, ip_network
from itertools import combinations

from dmvpn_agent.addresses import Address, Network, contains
from dmvpn_agent.policy.resources import pairs, texts, values
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Claim, Inheritable, Resources, Role, Source

#: The longest prefix that the guide's script lets through.
GUIDE_LONGEST = 26
_DOTTED = 15  # the longest dotted quad


class OldScript(StrEnum):
    """Which script the certificates were made for."""

    GUIDE = "guide"
    DMVPN_TOOLS = "dmvpn-tools"


@dataclass(frozen=True, slots=True)
class OldVerdict:
    """What a script would do. ``why`` is for people; ``notes`` what goes wrong after an accept.

    ``as_number``: of the BGP neighbor it makes, ``None`` without one. ``prefixes``: what its filter lets through, to
    the length ``longest`` inside them, ``None`` where that is the script's own setting.
    """

    accepts: bool
    why: str
    as_number: int | None = None
    prefixes: tuple[Network, ...] = ()
    longest: int | None = None
    notes: tuple[str, ...] = ()


def old_verdict(
    script: OldScript, certificate: Certificate | BadCertificate, address: Address | None, role: Role
) -> OldVerdict:
    """Return what a script on a node of this role would do; ``address`` is ``None`` where the peer's is not known."""
    if script is OldScript.GUIDE:
        return _guide(certificate, address)
    return _dmvpn_tools(certificate, address, role)


def _resources(certificate: Certificate | BadCertificate, source: Source) -> Resources:
    return Resources() if isinstance(certificate, BadCertificate) else certificate.resources.get(source, Resources())


def _guide(certificate: Certificate | BadCertificate, address: Address | None) -> OldVerdict:
    subject = _resources(certificate, Source.SUBJECT)
    named = subject.protocol_addresses
    if not named:
        return OldVerdict(False, "the subject has no OU GRE=")
    found = next((claim for claim in named if address is not None and _greps(address, claim)), None)
    if found is None:
        return OldVerdict(False, f"no OU begins with GRE={address}: {texts(named)}")
    notes: list[str] = []
    number = _guide_as_number(subject, notes)
    prefixes = tuple(_guide_prefixes(subject, notes))
    return OldVerdict(True, f"{found.text} matches ^GRE={address}", number, prefixes, GUIDE_LONGEST, tuple(notes))


def _greps(address: Address, claim: Claim[Address]) -> bool:
    return re.match(f"GRE={address}", claim.text) is not None


def _guide_as_number(subject: Resources, notes: list[str]) -> int | None:
    written = [claim.text.removeprefix("AS=") for claim in subject.as_numbers]
    if not written:
        notes.append("no AS=: vtysh refuses the neighbor, there is no BGP session")
        return None
    if len(written) > 1:
        # vtysh takes the second line of the text for a command, fails, and stops before the filter.
        notes.append("several AS=: the neighbor is made with the first, and without peer-group and filter")
    if not re.fullmatch("[0-9]{1,10}", written[0]) or not 0 < (number := int(written[0])) < 2**32:
        notes.append(f"AS={written[0]}: vtysh refuses the neighbor, there is no BGP session")
        return None
    return number


def _guide_prefixes(subject: Resources, notes: list[str]) -> Iterator[Network]:
    for claim in subject.prefixes:
        try:
            prefix = ip_network(claim.text.removeprefix("NET="), strict=False)
        except ValueError:
            notes.append(f"{claim.text}: vtysh refuses it")
            continue
        if not isinstance(prefix, IPv4Network) or "/" not in claim.text:
            notes.append(f"{claim.text}: `ip prefix-list` refuses it")
        elif prefix.prefixlen >= GUIDE_LONGEST:
            notes.append(f"{claim.text}: vtysh refuses it, as `le {GUIDE_LONGEST}` is not longer")
        else:
            yield prefix


def also_accepted(
    script: OldScript, certificate: Certificate | BadCertificate, within: tuple[Network, ...]
) -> tuple[Address, ...]:
    """Return the addresses in these networks that a script accepts although the certificate does not name them."""
    if script is not OldScript.GUIDE:
        return ()
    named = _resources(certificate, Source.SUBJECT).protocol_addresses
    known = set(values(named))
    matching = {address for claim in named for address in _matching(claim.text.removeprefix("GRE="))}
    return tuple(sorted((one for one in matching - known if contains(within, one)), key=str))


def _matching(text: str) -> Iterator[Address]:
    """Yield the IPv4 addresses that, as a pattern, match the beginning of a text."""
    for length in range(7, min(len(text), _DOTTED) + 1):
        written = [place for place in range(length) if text[place] == "."]
        others = [place for place in range(1, length - 1) if text[place] != "."]
        if len(written) > 3:
            return
        for more in combinations(others, 3 - len(written)):
            pattern = "".join("." if place in more else text[place] for place in range(length))
            try:
                yield ip_address(pattern)
            except ValueError:
                continue


def _dmvpn_tools(certificate: Certificate | BadCertificate, address: Address | None, role: Role) -> OldVerdict:
    if isinstance(certificate, BadCertificate):
        return OldVerdict(False, "it fails before the answer: the certificate cannot be read")
    named = values(_resources(certificate, Source.SUBJECT_ALT_NAME).protocol_addresses)
    if not named:
        return OldVerdict(False, "subjectAltName has no IP address")
    if address is None or address not in named:
        return OldVerdict(False, f"subjectAltName has not {address}: {', '.join(str(one) for one in named)}")
    why = f"subjectAltName has {address}"
    if role is not Role.HUB or address.version == 6:
        return OldVerdict(True, f"{why}; no BGP follows from it")
    rfc3779 = _resources(certificate, Source.RFC3779)
    families = {Inheritable.IPV4, Inheritable.IPV6}
    if not rfc3779.prefixes and not rfc3779.inherits & families:
        return OldVerdict(False, "it fails before the answer: the certificate has no address blocks (RFC 3779)")
    number = next((value.low for value in values(rfc3779.as_numbers) if value.low == value.high), None)
    notes = [] if number is not None else ["no single AS number: vtysh refuses the neighbor, there is no BGP session"]
    ranges = [claim.text for claim in rfc3779.prefixes if claim.text != str(claim.value)]
    notes += [f"{text}: passed over" for text in ranges]
    prefixes = tuple(prefix for claim, prefix in pairs(rfc3779.prefixes) if claim.text == str(prefix))
    return OldVerdict(True, why, number, prefixes, None, tuple(notes))
