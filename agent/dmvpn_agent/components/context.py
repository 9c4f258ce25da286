"""What the components of all subjects are made with."""

from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Revoked
from dmvpn_agent.config.settings import Config
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.runtime.callbacks import Callbacks
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.process import Process
from dmvpn_agent.runtime.sqlite_file import K, Table, V
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.unreadable import Unreadable


class Context:
    """The process, and the ways to FRR and to the kernel's notifications.

    ``dry_run``: the agent changes nothing in FRR, nftables and charon. Who reports one of these calls the attribute:

    ``sas_changed``: charon's IKE_SAs changed. ``peers_changed``: the accepted peers, or what they may do, changed.
    ``peer_revoked``: a peer was accepted and is denied now. ``tunnel_moved``: a tunnel interface has another local
    address. ``nhrpd_connected``: nhrpd has connected to the event socket, as it does when it starts.
    """

    def __init__(self, config: Config, clocks: Clocks, *, dry_run: bool) -> None:
        self.config = config
        self.clocks = clocks
        self.dry_run = dry_run
        self.process = Process(
            "agent", config.state_directory / "agent.sqlite", PeerTable.TABLE, config.metrics, ("admission",), clocks,
            config.metrics_access,
        )  # fmt: skip
        self.telemetry = self.process.telemetry
        self.terminals = Terminals(config.frr)
        self.kernel_watch = KernelWatch(config.interfaces, self.telemetry)
        self.sas_changed = Callbacks[[]]()
        self.peers_changed = Callbacks[[]]()
        self.peer_revoked = Callbacks[[Revoked]]()
        self.tunnel_moved = Callbacks[[]]()
        self.nhrpd_connected = Callbacks[[]]()

    def store(self, name: str, table: Table[K, V]) -> Store[K, V]:
        """Return a store in a file of its own in the state directory."""
        file = self.config.state_directory / f"{name}.sqlite"
        return self.process.add_store(Store(file, table, Unreadable(self.telemetry)))
