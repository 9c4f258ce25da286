"""charon's SAs in the form that nhrpd reads."""

from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.vici import Section

#: nhrpd ignores a longer certificate (``blob2buf`` into 2048 bytes), and keeps the one it had for these addresses.
NHRPD_MAX_CERTIFICATE = 2047


def render_for_nhrpd(sa: IkeSa, child: ChildSa, local: bytes, remote: bytes) -> Section:
    """Return the message of a ``list-sa`` or ``child-state-*`` event about one CHILD_SA.

    nhrpd acts when the CHILD_SA's section ends, so all other fields precede it. The bridge sends an empty certificate
    in place of one that is too long, so that nhrpd drops the one it had for these addresses.
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
