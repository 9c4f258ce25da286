"""The decisions of the scripts that did this job before, to compare before a migration.

Two scripts are known. They are modelled with their flaws:

- ``guide``: the ``opennhrp-script`` of the Alpine wiki, «Dynamic Multipoint VPN (DMVPN)», of which there are
  variants. It reads the subject's OUs as lines of text. The peer may register if ``^GRE=<address>`` matches one: a
  pattern that is not anchored at its end and whose dots match any character. ``AS=`` and ``NET=`` go into vtysh
  unchecked: ``neighbor … remote-as``, and ``ip prefix-list net-<AS>-in permit <NET> le 26``. It ignores vtysh's
  output.
- ``dmvpn-tools``: ``nhrp-events`` of that package (github.com/alpinelinux/dmvpn-tools). The peer may register the
  addresses of its subjectAltName, compared whole. On a hub, a certificate without address blocks (RFC 3779) ends in a
  Lua error before the reply is written, so nhrpd denies after 10 seconds. It skips ranges and ``inherit``, and uses
  the first AS number. It compares nothing with a policy.

Neither checks dates, CRLs or other peers with the same address; charon checks dates and CRLs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, ip_address, ip_network
from itertools import combinations

from dmvpn_agent.addresses import Address, Network, contains
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Claim, Inheritable, Resources, Role, Source
from dmvpn_agent.x509.claims import texts, values, well_formed

#: The longest prefix that the guide's script permits.
GUIDE_LONGEST = 26
_DOTTED = 15  # the longest dotted quad


class OldScript(StrEnum):
    """The script that the certificates were made for."""

    GUIDE = "guide"
    DMVPN_TOOLS = "dmvpn-tools"


@dataclass(frozen=True, slots=True)
class OldVerdict:
    """The decision of a script. ``why`` is for people; ``notes``: what goes wrong after an accept.

    ``as_number``: of its BGP neighbor, ``None`` without one. ``prefixes``: what its filter permits, with their
    subnets up to the length ``longest``; ``None`` if that length is a setting of the script.
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
    """Return the decision of a script on a node of this role; ``address`` is ``None`` if it is not known."""
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
    found = next((claim for claim in named if address is not None and _matches_grep(address, claim)), None)
    if found is None:
        return OldVerdict(False, f"no OU begins with GRE={address}: {texts(named)}")
    notes: list[str] = []
    number = _guide_as_number(subject, notes)
    prefixes = tuple(_guide_prefixes(subject, notes))
    return OldVerdict(True, f"{found.text} matches ^GRE={address}", number, prefixes, GUIDE_LONGEST, tuple(notes))


def _matches_grep(address: Address, claim: Claim[Address]) -> bool:
    return re.match(f"GRE={address}", claim.text) is not None


def _guide_as_number(subject: Resources, notes: list[str]) -> int | None:
    written = [claim.text.removeprefix("AS=") for claim in subject.as_numbers]
    if not written:
        notes.append("no AS=: vtysh refuses the neighbor, there is no BGP session")
        return None
    if len(written) > 1:
        # vtysh reads the second line of the text as a command, fails, and stops before the filter.
        notes.append("several AS=: the neighbor gets the first one, and no peer-group or filter")
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
    """Yield the IPv4 addresses that match the beginning of a text if used as a pattern."""
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
        return OldVerdict(False, "it fails before the reply: the certificate cannot be read")
    named = values(_resources(certificate, Source.SUBJECT_ALT_NAME).protocol_addresses)
    if not named:
        return OldVerdict(False, "subjectAltName has no IP address")
    if address is None or address not in named:
        return OldVerdict(False, f"subjectAltName does not have {address}: {', '.join(str(one) for one in named)}")
    why = f"subjectAltName has {address}"
    if role is not Role.HUB or address.version == 6:
        return OldVerdict(True, f"{why}; it makes no BGP neighbor")
    rfc3779 = _resources(certificate, Source.RFC3779)
    families = {Inheritable.IPV4, Inheritable.IPV6}
    if not rfc3779.prefixes and not rfc3779.inherits & families:
        return OldVerdict(False, "it fails before the reply: the certificate has no address blocks (RFC 3779)")
    number = next((value.low for value in values(rfc3779.as_numbers) if value.low == value.high), None)
    notes = [] if number is not None else ["no single AS number: vtysh refuses the neighbor, there is no BGP session"]
    ranges = [claim.text for claim in rfc3779.prefixes if claim.text != str(claim.value)]
    notes += [f"{text}: skipped" for text in ranges]
    prefixes = tuple(prefix for claim, prefix in well_formed(rfc3779.prefixes) if claim.text == str(prefix))
    return OldVerdict(True, why, number, prefixes, None, tuple(notes))
