"""SAs that stay the same value from look to look while nothing happens to them.

charon gives times as whole seconds from now, so that the same moment is another one by up to a second at each look.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from dmvpn_agent.charon.sa import ChildSa, IkeSa

#: A second by charon's rounding, and one by the clocks: its own counts no leaps of the system's.
ROUNDING = timedelta(seconds=2)


def reuse_unchanged(sa: IkeSa, former: IkeSa | None) -> IkeSa:
    """Return the former value of an IKE_SA, if rounding is all that sets this one apart.

    Else this one, with those of its former times and CHILD_SAs of which that is true.
    """
    if former is None or former.spis != sa.spis:
        return sa
    children = {child.spis: child for child in former.children}
    steady = replace(
        sa,
        established_at=_steadied(sa.established_at, former.established_at),
        rekey_due=_steadied(sa.rekey_due, former.rekey_due),
        reauth_due=_steadied(sa.reauth_due, former.reauth_due),
        children=tuple(_steadied_child(child, children.get(child.spis)) for child in sa.children),
    )
    return former if steady == former else steady


def _steadied_child(child: ChildSa, former: ChildSa | None) -> ChildSa:
    if former is None or former.unique_id != child.unique_id:
        return child
    idle = child.traffic == former.traffic
    steady = replace(
        child,
        last_in=_steadied(child.last_in, former.last_in if idle else None),
        last_out=_steadied(child.last_out, former.last_out if idle else None),
        installed_at=_steadied(child.installed_at, former.installed_at),
        rekey_due=_steadied(child.rekey_due, former.rekey_due),
        expires=_steadied(child.expires, former.expires),
    )
    return former if steady == former else steady


def _steadied(time: datetime | None, former: datetime | None) -> datetime | None:
    return former if time and former and abs(time - former) <= ROUNDING else time
