"""charon's SAs in the form that nhrpd reads."""

from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.vici import Section

#: nhrpd keeps no longer certificate (``blob2buf`` into 2048 bytes) and would keep the former peer's instead.
NHRPD_MAX_CERTIFICATE = 2047


def render_for_nhrpd(sa: IkeSa, child: ChildSa, local: bytes, remote: bytes) -> Section:
    """Return the message of a ``list-sa`` or ``child-state-*`` event about one CHILD_SA.

    nhrpd reads from the top and acts where the CHILD_SA's section ends, so everything else stands before it. A
    certificate it cannot hold is sent as an empty one: nhrpd would otherwise keep what it had for these addresses.
    """
    return {
        sa.name: {
            "uniqueid": str(sa.unique_id),
            "local-host": str(sa.local_host),
            "remote-host": str(sa.remote_host),
            "local-id": sa.local_id,
            "remote-id": sa.remote_id,
            "local-cert-data": _holdable(local),
            "remote-cert-data": _holdable(remote),
            "child-sas": {
                child.name: {
                    "name": child.name,
                    "uniqueid": str(child.unique_id),
                    "state": "INSTALLED" if child.installed else child.state,
                }
            },
        }
    }


def _holdable(der: bytes) -> bytes:
    return der if len(der) <= NHRPD_MAX_CERTIFICATE else b""
