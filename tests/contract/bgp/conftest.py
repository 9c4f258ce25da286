"""bgpd, fake and real."""

from collections.abc import Iterator

import pytest

from contract.bgpd_subjects import FakeSubject, RealSubject, Subject, needs_bgpd
from contract.frr import RealBgpd
from contract.operators_bgp import wipe
from dmvpn_agent.bgp import reconciler as module


@pytest.fixture(scope="module")
def real() -> Iterator[RealBgpd]:
    real = RealBgpd()
    real.start()
    yield real
    real.stop()


@pytest.fixture(
    params=[
        "fake",
        *(
            pytest.param(
                terminals,
                marks=[pytest.mark.contract, needs_bgpd],
                id=f"read by {terminals[0]}, written by {terminals[1]}",
            )
            for terminals in [("vtysh", "vtysh"), ("vty", "vtysh"), ("vty", "vty")]
        ),
    ]
)
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return FakeSubject()
    real: RealBgpd = request.getfixturevalue("real")
    real.fresh()
    return RealSubject(real, *request.param)


@pytest.fixture
def retries_after_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bgpd refuses is not tried again during the test."""
    monkeypatch.setattr(module, "FIRST_RETRY_INTERVAL", 3600.0)


@pytest.fixture(scope="module")
def bgpd() -> Iterator[RealBgpd]:
    bgpd = RealBgpd("!\n")
    bgpd.start()
    yield bgpd
    bgpd.stop()


@pytest.fixture
def fresh(bgpd: RealBgpd) -> RealBgpd:
    wipe(bgpd)
    return bgpd
