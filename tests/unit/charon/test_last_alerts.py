"""The last alert about an address explains why its peer has no IKE_SA."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from dmvpn_agent.charon.events import Alert
from dmvpn_agent.charon.last_alerts import LastAlerts
from factories import NOW
from joining import sa

ADDRESS = ip_address("203.0.113.1")


def _alert(kind: str, number: int = 1) -> Alert:
    return Alert(kind, sa(number, state="CONNECTING").sa)


def test_the_cause_outlives_what_follows_from_it() -> None:
    """charon reports the certificate first, then that the peer failed to authenticate."""
    alerts = LastAlerts()
    for kind in ("cert-expired", "peer-auth-failed"):
        alerts.add(_alert(kind), NOW)
    assert alerts.by_address()[ADDRESS].kind == "cert-expired"
    assert alerts.by_address()[ADDRESS].is_authentication
    alerts.add(_alert("proposal-mismatch-ike"), NOW)
    assert not alerts.by_address()[ADDRESS].is_authentication


@pytest.mark.parametrize("alert", [_alert("unique-replace"), Alert("peer-auth-failed"), _alert("anything-new")])
def test_other_alerts_explain_nothing(alert: Alert) -> None:
    """Or nobody knows whom they are about."""
    alerts = LastAlerts()
    alerts.add(alert, NOW)
    assert alerts.by_address() == {}


def test_an_established_ike_sa_ends_it() -> None:
    """The peer has authenticated since; why it has no CHILD_SA may be reported before."""
    alerts = LastAlerts()
    for kind, kept in (("peer-auth-failed", False), ("proposal-mismatch-child", True)):
        alerts.add(_alert(kind), NOW)
        alerts.ike_established(ADDRESS)
        alerts.ike_established(ADDRESS)
        assert (ADDRESS in alerts.by_address()) is kept
    alerts.child_installed(ADDRESS)
    alerts.child_installed(ADDRESS)
    assert alerts.by_address() == {}


def test_only_the_latest_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can fail to authenticate."""
    monkeypatch.setattr("dmvpn_agent.charon.last_alerts.REMEMBERED", 2)
    alerts = LastAlerts()
    for number in (1, 2, 3):
        one = sa(1).sa
        alerts.add(Alert("peer-auth-failed", replace(one, remote_host=ADDRESS + number)), NOW)
    assert list(alerts.by_address()) == [ADDRESS + 2, ADDRESS + 3]
