"""A peer's label: its name from a certificate or from charon as one word that is safe in a command.

Names are untrusted text. Only the ASCII letters and digits, ``.``, ``_`` and ``-`` stay; every other character
becomes ``_``.
"""

import re
from collections.abc import Iterable

from dmvpn_agent.x509.certificate import Label
from dmvpn_agent.x509.claim_sources import RESOURCE_UNITS
from dmvpn_agent.x509.name import Attribute

_COMMON_NAME = "2.5.4.3"


_ORGANIZATIONAL_UNIT = "2.5.4.11"


#: The length of a site's name that leaves room for the number.
_SITE = 20


_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]")


def read_label(name: str) -> Label | None:
    """Return a name as a label, cut to the longest; ``None`` if no letter or digit would be left."""
    word = _NOT_ALLOWED.sub("_", name[: Label.LONGEST])
    return Label(word) if any(character.isalnum() for character in word) else None


def subject_label(subject: Iterable[Attribute]) -> Label | None:
    """Return the label of a certificate's subject, from its last CN; ``None`` if that gives none.

    dmvpn-ca numbers the nodes of a site (``OU=branch7, CN=1``): a CN that is a number follows the OU: ``branch7-1``.
    """
    attributes = [(attribute.oid, attribute.text or "") for attribute in subject]
    names = [text for oid, text in attributes if oid == _COMMON_NAME]
    return _label(names, [text for oid, text in attributes if oid == _ORGANIZATIONAL_UNIT])


def identity_label(printed: str) -> Label | None:
    """Return the label of an IKE identity as charon prints it: of a distinguished name as ``subject_label`` does."""
    if "=" not in printed:
        return read_label(printed)
    parts = [part.partition("=") for part in printed.split(", ")]
    names = [text for kind, _, text in parts if kind == "CN"]
    return _label(names, [text for kind, _, text in parts if kind == "OU"]) or read_label(printed)


def _label(names: list[str], units: list[str]) -> Label | None:
    sites = [unit for unit in units if not unit.startswith(RESOURCE_UNITS)]
    if not names:
        return None
    numbered = re.fullmatch("[0-9]{1,10}", names[-1]) and sites
    return read_label(f"{sites[-1][:_SITE]}-{names[-1]}" if numbered else names[-1])
