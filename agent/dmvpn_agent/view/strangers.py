"""Who failed to connect, and is none of the peers that are shown."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.last_alerts import LastAlert
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.sa_json import time_json

#: Attempts that are shown, the newest first: anybody can make thousands.
SHOWN = 5
#: For how long.
RECENT = timedelta(hours=1)


def failed_attempts(
    alerts: Mapping[Address, LastAlert], peers: Collection[JoinedPeer], now: datetime
) -> list[dict[str, Any]]:
    """Return the last failed attempts that no peer is shown with, or has made up for: it has an IKE_SA from there.

    An expected peer whose certificate has another name, or whose proposals do not fit, looks like a stranger.
    """
    explained = {(peer.alert, peer.alerted_at) for peer in peers if peer.alert}
    # charon gives up the former IKE_SA of a peer that restarted some minutes after the new one is established.
    connected = {(sa.remote_host, sa.remote_id) for peer in peers for sa in peer.ike_sas if sa.established}
    found = [
        (address, alert)
        for address, alert in alerts.items()
        if (alert.kind, alert.at) not in explained
        and (address, alert.remote_id) not in connected
        and now - alert.at < RECENT
    ]
    found.sort(key=lambda one: one[1].at, reverse=True)
    return [
        {
            "nbma_address": str(address),
            "identity": "" if alert.remote_id == "%any" else alert.remote_id,
            "alert": alert.kind,
            "at": time_json(alert.at),
        }
        for address, alert in found[:SHOWN]
    ]
