"""SAs and times as JSON values."""

from datetime import datetime
from typing import Any

from dmvpn_agent.charon.sa import ChildSa, IkeSa


def time_json(moment: datetime | None) -> str | None:
    """Return a time in ISO 8601, exact to a second."""
    return None if moment is None else moment.isoformat(timespec="seconds")


def ike_sa_json(sa: IkeSa) -> dict[str, Any]:
    """Return an IKE_SA with its CHILD_SAs."""
    return {
        "unique_id": sa.unique_id,
        "connection": sa.name,
        "version": sa.version,
        "state": sa.state,
        "initiator": sa.initiator,
        "local_host": str(sa.local_host),
        "local_port": sa.local_port,
        "local_id": sa.local_id,
        "remote_host": str(sa.remote_host),
        "remote_port": sa.remote_port,
        "remote_id": sa.remote_id,
        "nat_local": sa.nat_local,
        "nat_remote": sa.nat_remote,
        "spis": sa.spis,
        "algorithms": str(sa.algorithms),
        "established_at": time_json(sa.established_at),
        "rekey_due": time_json(sa.rekey_due),
        "reauth_due": time_json(sa.reauth_due),
        "children": [_child_sa(child) for child in sa.children],
    }


def _child_sa(child: ChildSa) -> dict[str, Any]:
    return {
        "unique_id": child.unique_id,
        "name": child.name,
        "state": child.state,
        "mode": child.mode,
        "protocol": child.protocol,
        "reqid": child.reqid,
        "udp_encapsulated": child.udp_encapsulated,
        "spi_in": child.spi_in,
        "spi_out": child.spi_out,
        "algorithms": str(child.algorithms),
        "traffic": child.traffic._asdict(),
        "last_in": time_json(child.last_in),
        "last_out": time_json(child.last_out),
        "installed_at": time_json(child.installed_at),
        "rekey_due": time_json(child.rekey_due),
        "expires": time_json(child.expires),
    }
