"""Reuses the value of an SA that has not changed since the last list: a thousand SAs are then held once.

charon gives times in whole seconds from now, so the same moment differs by up to a second from list to list.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from dmvpn_agent.charon.sa import ChildSa, IkeSa

#: One second for charon's rounding, and one because charon's clock does not follow steps of the system clock.
ROUNDING = timedelta(seconds=2)


def reuse_unchanged(sa: IkeSa, former: IkeSa | None) -> IkeSa:
    """Return the former value of an IKE_SA if only rounded times differ.

    Otherwise return the new value, with each former time and CHILD_SA that differs by rounding only.
    """
    if former is None or former.spis != sa.spis:
        return sa
    children = {child.spis: child for child in former.children}
    merged = replace(
        sa,
        established_at=_reused_time(sa.established_at, former.established_at),
        rekey_due=_reused_time(sa.rekey_due, former.rekey_due),
        reauth_due=_reused_time(sa.reauth_due, former.reauth_due),
        children=tuple(_reused_child(child, children.get(child.spis)) for child in sa.children),
    )
    return former if merged == former else merged


def _reused_child(child: ChildSa, former: ChildSa | None) -> ChildSa:
    if former is None or former.unique_id != child.unique_id:
        return child
    idle = child.traffic == former.traffic
    merged = replace(
        child,
        last_in=_reused_time(child.last_in, former.last_in if idle else None),
        last_out=_reused_time(child.last_out, former.last_out if idle else None),
        installed_at=_reused_time(child.installed_at, former.installed_at),
        rekey_due=_reused_time(child.rekey_due, former.rekey_due),
        expires=_reused_time(child.expires, former.expires),
    )
    return former if merged == former else merged


def _reused_time(time: datetime | None, former: datetime | None) -> datetime | None:
    return former if time and former and abs(time - former) <= ROUNDING else time
