"""Removes SAs and policies from the kernel that a killed charon left there, on a node with the bridge.

A charon that is killed leaves its SAs in the kernel until they expire, after about an hour. The kernel sends packets
by them, and asks the new charon for no SA to the same peer. The agent deletes them before it asks for an SA to that
peer, and those of all other peers after ``KEEP``: by then the other ends have noticed, and until then their packets
still arrive.
"""

from collections.abc import Callable, Set
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement import metrics
from dmvpn_agent.kernel.xfrm import (
    IPPROTO_ESP,
    IPPROTO_GRE,
    XFRM_MODE_TRANSPORT,
    KernelPolicy,
    KernelSa,
    XfrmError,
)
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: An SA that was younger than this when charon's were listed may be one that charon is about to list.
YOUNGEST = timedelta(seconds=3)
#: A peer notices by dead peer detection: 15 s, and 24 s of retransmissions, in the swanctl and strongSwan files here.
KEEP = timedelta(seconds=60)


class CharonSas(Protocol):
    """charon's IKE_SAs of every connection."""

    @property
    def patched(self) -> bool | None:
        """Tell whether charon initiates by itself, as nhrpd asks; ``None`` until it was asked."""

    @property
    def ike_sas(self) -> tuple[IkeSa, ...]:
        """Return them as last listed."""


class KernelSas(Protocol):
    """The kernel's IPsec SAs and policies. Each method raises ``XfrmError``."""

    def list(self) -> tuple[KernelSa, ...]:
        """Return all SAs."""

    def delete(self, sa: KernelSa) -> None:
        """Delete one; it may be gone already."""

    def list_policies(self) -> tuple[KernelPolicy, ...]:
        """Return the policies between two hosts."""

    def delete_policy(self, policy: KernelPolicy) -> None:
        """Delete one; it may be gone already."""


class StaleSas:
    """The kernel's SAs that charon does not know, since its last start. In a ``dry_run`` they are only logged.

    ``peers`` returns the NBMA addresses of this DMVPN's peers: SAs with other hosts stay.
    """

    def __init__(
        self,
        charon: CharonSas,
        kernel: KernelSas,
        peers: Callable[[], Set[Address]],
        telemetry: Telemetry,
        clocks: Clocks,
        *,
        dry_run: bool = False,
    ) -> None:
        self._charon = charon
        self._kernel = kernel
        self._peers = peers
        self._telemetry = telemetry
        self._clocks = clocks
        self._dry_run = dry_run
        self._trouble = Trouble()
        self._stale: tuple[KernelSa, ...] = ()
        self._young: Set[KernelSa] = frozenset()
        self._found_at = timedelta(0)

    def find(self) -> None:
        """Find them, right after charon's IKE_SAs were listed for the first time."""
        self._stale, self._found_at = (), self._clocks.uptime()
        if self._charon.patched:
            return  # it needs no request of the kernel, and its policies keep GRE from leaving unencrypted
        try:
            present = self._kernel.list()
        except XfrmError as error:
            self._report(error)
            return
        self._trouble.over()
        known, peers, youngest = self._known(), self._peers(), self._clocks.now() - YOUNGEST
        self._stale = tuple(sa for sa in present if _may_be_peers(sa, peers) and sa.spi not in known)
        # After the time of day was set back, all are. They may go once charon had the time to list them.
        self._young = frozenset(sa for sa in self._stale if sa.added_at >= youngest.timestamp())
        if old := len(self._stale) - len(self._young):
            log.info("stale_kernel_sas", sas=old, why="charon does not know them: it was killed",
                     consequence="the agent deletes them before it asks for new ones")  # fmt: skip

    def remove(self, local: Address, remote: Address) -> None:
        """Delete those between two NBMA addresses."""
        self._remove(lambda sa: {sa.source, sa.destination} == {local, remote})

    def remove_old(self) -> None:
        """Delete all of them once ``KEEP`` is over."""
        if self._stale and self._clocks.uptime() - self._found_at >= KEEP:
            self._remove(lambda _: True)

    def _remove(self, concerns: Callable[[KernelSa], bool]) -> None:
        # Again: while charon rekeys an IKE_SA, one listing may lack its CHILD_SAs.
        known = self._known()
        young = self._young if self._clocks.uptime() - self._found_at < YOUNGEST else frozenset()
        due = [sa for sa in self._stale if concerns(sa) and sa not in young]
        chosen = [sa for sa in due if sa.spi not in known]
        self._stale = tuple(sa for sa in self._stale if sa not in due)
        if not chosen:
            return
        if self._dry_run:
            for sa in chosen:
                log.info("would_delete_stale_sa", source=str(sa.source), destination=str(sa.destination), spi=sa.spi)
            return
        try:
            for sa in chosen:
                self._kernel.delete(sa)
                self._telemetry.increment(metrics.STALE_SAS, "deleted")
            self._remove_policies({frozenset((sa.source, sa.destination)) for sa in chosen})
        except XfrmError as error:
            self._report(error)
            return
        ends = {str(end) for sa in chosen for end in (sa.source, sa.destination)}
        log.info("stale_sas_deleted", sas=len(chosen), nbma_addresses=sorted(ends))

    def _remove_policies(self, pairs: Set[frozenset[Address]]) -> None:
        """Delete the policies of these pairs: they name an SA that is gone.

        By such a policy the kernel would request an SA with the former SPI, and none other for 30 s, also after the
        new one has come and gone.
        """
        in_use = {frozenset((sa.local_host, sa.remote_host)) for sa in self._charon.ike_sas if sa.children}
        for policy in self._kernel.list_policies():
            pair = frozenset((policy.source, policy.destination))
            if policy.protocol == IPPROTO_GRE and pair in pairs - in_use:
                self._kernel.delete_policy(policy)

    def _known(self) -> frozenset[str]:
        children = [child for sa in self._charon.ike_sas for child in sa.children]
        return frozenset(spi for child in children for spi in (child.spi_in, child.spi_out))

    def _report(self, error: XfrmError) -> None:
        self._telemetry.increment(metrics.STALE_SAS, "failed")
        if self._trouble.is_new(error):
            log.warning("stale_sas_unread", why=str(error),
                        consequence="after charon was killed, peers are back only when their dead peer detection"
                        " has noticed")  # fmt: skip


def _may_be_peers(sa: KernelSa, peers: Set[Address]) -> bool:
    """Tell whether an SA is as charon sets it up for a tunnel to one of these peers."""
    is_kind = sa.protocol == IPPROTO_ESP and sa.mode == XFRM_MODE_TRANSPORT and sa.keyed
    return is_kind and (sa.source in peers or sa.destination in peers)
