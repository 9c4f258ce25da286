"""The watch over charon's IKE_SAs."""

from collections.abc import Awaitable, Callable

from dmvpn_agent.bridge.bridge_certificates import BridgeCertificates
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.sa_gauges import observe_sas
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.components.context import Context
from dmvpn_agent.renewal.gauges import observe_renewal
from dmvpn_agent.runtime.supervisor import Part
from dmvpn_agent.view.recorded import HistoryWriter, RecordedCharon


class CharonComponents:
    """``learn_authorities`` is called with the intermediate CA certificates that peers send."""

    def __init__(
        self,
        context: Context,
        writer: HistoryWriter,
        learn_authorities: Callable[[list[bytes]], Awaitable[None]],
    ) -> None:
        config, telemetry = context.config, context.telemetry
        telemetry.expect(metrics)
        watch = RecordedCharon(
            writer,
            ViciCharon(config.ike.vici_socket, telemetry),
            config.tunnels,
            telemetry,
            context.clocks,
            certificates=BridgeCertificates(
                config.state_directory / "bridge.sqlite", config.bridge.listen, telemetry
            ),
            changed=context.sas_changed,
            learn_authorities=learn_authorities,
        )
        self.watch: CharonWatch = watch
        observe_sas(telemetry, watch)
        if config.renewal.server:
            observe_renewal(telemetry, config.renewal.state)
        context.process.readiness.add("charon", lambda: "" if watch.connected else "not connected to the agent")

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these."""
        return [Part("charon", self.watch.run)]
