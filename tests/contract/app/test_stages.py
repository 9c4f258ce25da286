"""Each stage with the real daemons: an agent beside charon, nhrpd and bgpd, and a peer that gets no further.

charon's SAs are with a second charon, nhrpd's binding is configured, and bgpd's session is with a second bgpd. The
test is nhrpd when it comes to the question whether the peer may join.
"""

import asyncio
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from socket import gethostname
from ssl import DER_cert_to_PEM_cert
from typing import Any
from urllib.request import urlopen

import pytest

from browser import CHROMIUM, Tab, chromium
from contract import charons, frr
from contract.admission.test_nhrpd import FRR, RealNhrpd
from contract.agent import Agent
from contract.charon_pair import Side, two_charons
from contract.charons import connection
from contract.frr import HUB, SPEAKER, RealBgpd
from dmvpn_agent.charon.session import CommandFailed
from dmvpn_agent.charon.vici import Section
from dmvpn_agent.cli.main import main
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.stages_text import TEXTS
from factories import NOW, YEAR, authority_pem, der, event
from fakes.waiting import running, until_now
from page_process import free_endpoint

NEEDS_DAEMONS = [
    pytest.mark.contract,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        os.geteuid() != 0 or not (FRR / "nhrpd").exists() or not frr.available() or not charons.available(sas=True),
        reason="needs root, FRR and a charon with kernel-libipsec",
    ),
]
pytestmark = NEEDS_DAEMONS

CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{vici}"
end_denied = false
[policy]
confirm_certificates = false
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
ca_certificates = ["{directory}/ca.pem"]
[frr]
vtysh = "{vtysh}"
vty_directory = "{directory}/vty"
resync_seconds = 1
[bgp]
as_number = 65000
[redirect]
enabled = false
[metrics]
listen = "{metrics}"
[[peers.expected]]
name = "side2"
[page]
listen = "{page}"
"""
UNITS = ("GRE=10.255.0.2", "AS=64514", "NET=192.168.2.0/24")
QUIET = "\n".join(line for line in SPEAKER.splitlines() if "network 1" not in line)

#: Stages at which nothing is marked.
NOT_STUCK = {Stage.UP, Stage.UNKNOWN}
SPEAKER_FAMILY = ("configure terminal", "router bgp 64514", "address-family ipv4 unicast")


class Node:
    """The hub's daemons and its agent, and the peer's charon and bgpd."""

    def __init__(self, folder: Path, hub: Side, peer: Side, cleanup: ExitStack) -> None:
        self.hub, self.peer = hub, peer
        self.certificate = der(UNITS, "side2")
        self.nhrpd = RealNhrpd(Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="nhrpd-"))))
        self.nhrpd.start(cleanup)
        self.bgpd = RealBgpd(HUB)
        self.bgpd.start()
        cleanup.callback(self.bgpd.stop)
        (folder / "ca.pem").write_bytes(authority_pem())
        (folder / "vty").mkdir()
        for name, at in (("nhrpd.vty", self.nhrpd.directory), ("bgpd.vty", self.bgpd.directory)):
            (folder / "vty" / name).symlink_to(at / name)
        page, self.metrics = free_endpoint(), free_endpoint()
        self.page = f"http://{page}"
        settings = {"vici": hub.path, "vtysh": self.bgpd.vtysh, "page": page, "metrics": self.metrics}
        config = CONFIG.format(directory=folder, **settings)
        self.agent = Agent(folder, config.replace("{", "{{").replace("}", "}}"))
        cleanup.callback(self.agent.kill)
        self.agent.start()
        self.agent.wait_for("agent_ready")
        self.agent.start(command="page")
        self.agent.wait_for("page_listening")
        self.tab: Tab | None = None
        self._cleanup = cleanup

    def ask(self, address: str = "10.255.0.2") -> bytes:
        """Ask as nhrpd does; return the agent's answer."""
        message = event(der_hex=self.certificate.hex(), remote_addr=address, remote_nbma=self.peer.host)
        return self.agent.ask(message)

    def bind(self) -> None:
        """Give nhrpd the binding."""
        done = self.nhrpd.run("nhrpd", "configure terminal", "interface gre1", "ip nhrp network-id 1",
                              f"ip nhrp map 10.255.0.2 {self.peer.host}")  # fmt: skip
        assert done.returncode == 0, done.stdout

    async def keep_trying(self) -> None:
        """Have the peer try to connect until cancelled."""
        while True:
            with suppress(CommandFailed):
                await self.peer.ask("initiate", {"child": "dmvpn", "timeout": "1000"})
            await asyncio.sleep(0.5)

    async def disagree(self, what: str, proposals: str) -> None:
        """Have the peer offer only these ``proposals``, or ``esp_proposals``."""
        own: Section = {"certs": [DER_cert_to_PEM_cert(self.certificate)]}
        made = connection(own, self.peer.host, self.hub.host, f"{self.peer.inner}/32", f"{self.hub.inner}/32")
        (made if what in made else made["children"]["dmvpn"])[what] = [proposals]
        await self.peer.ask("load-conn", {"dmvpn": made})

    async def says(self, alert: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Wait until this is charon's last alert about the peer."""

        def there() -> bool:
            main(["peers", "--json", "--config", str(self.agent.config)])
            peers = json.loads(capsys.readouterr().out)["data"]["peers"]
            return any(one["alert"] == alert for one in peers)

        await asyncio.to_thread(until_now, there)

    def speak(self, config: str) -> RealBgpd:
        """Start the peer's bgpd."""
        speaker = RealBgpd(config, namespace=self.bgpd.pid, address="10.255.0.2")
        speaker.start()
        self._cleanup.callback(speaker.stop)
        return speaker

    async def command(self, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
        """Return the data that a command prints."""
        capsys.readouterr()
        assert await asyncio.to_thread(main, [*words, "--json", "--config", str(self.agent.config)]) == 0
        return json.loads(capsys.readouterr().out)["data"]

    async def reaches(self, stage: Stage, capsys: pytest.CaptureFixture[str]) -> str:
        """Wait until the peer is at a stage, and return what ``peer side2`` prints: it marks the stage."""
        state: dict[str, Any] = {}

        def there() -> bool:
            main(["peers", "--json", "--config", str(self.agent.config)])
            answer = json.loads(capsys.readouterr().out)
            state.update({one["name"]: one for one in answer["data"]["peers"]})
            return bool(state["side2"]["stage"] == stage)

        try:
            await asyncio.to_thread(until_now, there)
        except TimeoutError:
            raise AssertionError(f"not {stage}: {state['side2']}") from None
        assert await asyncio.to_thread(main, ["peer", "side2", "--config", str(self.agent.config)]) == (stage != "up")
        text = capsys.readouterr().out
        assert (">>>" in text) is (stage not in NOT_STUCK)
        assert await asyncio.to_thread(self._stages) == [str(stage)]
        await self._page_says(stage, text)
        return text

    async def _page_says(self, stage: Stage, printed: str) -> None:
        """Check that the page says the same, in a browser if one is installed."""
        with await asyncio.to_thread(urlopen, f"{self.page}/api/v1/stages/side2", timeout=30) as answer:
            data = json.loads(answer.read())["data"]
        failed = [one["title"] for one in data["sections"] if one["state"] == "failed"]
        assert failed == ([] if stage in NOT_STUCK else [marked(printed)])
        assert data["title"] == TEXTS[stage].title
        assert stage in NOT_STUCK or " ".join(data["do"].split()) in " ".join(printed.split())
        if self.tab:
            await self.tab.visit(f"{self.page}/#/peer/{gethostname()}/side2")
            await self.tab.until(f"document.querySelector('h2 .badge').innerText.includes('{TEXTS[stage].title}')")
            shown = await self.tab.run("document.querySelector('.stages .failed')?.innerText ?? ''")
            assert stage in NOT_STUCK or all(word in shown for word in (*failed, data["do"]))

    def _stages(self) -> list[str]:
        """Return the stages in the peer's series."""
        return re.findall(r'^dmvpn_agent_peer_stage\{peer="side2",stage="(\w+)"\} 1', self.scrape(), re.MULTILINE)

    def scrape(self) -> str:
        """Return the agent's series."""
        with urlopen(f"http://{self.metrics}/metrics", timeout=30) as answer:
            return bytes(answer.read()).decode()


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[Node]:
    with ExitStack() as cleanup:
        async with two_charons(folder) as (hub, peer):
            made = await asyncio.to_thread(Node, folder, hub, peer, cleanup)
            await peer.show(made.certificate, hub)
            async with chromium() if CHROMIUM else nullcontext() as made.tab:
                yield made
            await asyncio.to_thread(made.agent.kill)


def marked(text: str) -> str:
    """Return the title of the section that is marked."""
    (line,) = [line for line in text.splitlines() if line.startswith(">>>")]
    return line.split()[1]


async def test_a_peer_shows_the_stage_at_which_it_is_stuck(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From an expected peer that was never seen to one that is up, and back."""
    async with node(tmp_path) as made:
        assert marked(await made.reaches(Stage.NO_IKE, capsys)) == "IKE"
        await made.peer.ask("initiate", {"child": "dmvpn", "timeout": "5000"})
        assert marked(await made.reaches(Stage.NOT_REGISTERED, capsys)) == "registration"
        await made.peer.ask("terminate", {"child": "dmvpn"})
        assert marked(await made.reaches(Stage.NO_CHILD_SA, capsys)) == "ESP"
        await made.peer.ask("initiate", {"child": "dmvpn", "timeout": "5000"})
        assert b"deny" in await asyncio.to_thread(made.ask, "10.255.0.3")
        text = await made.reaches(Stage.DENIED, capsys)
        assert marked(text) == "decision"
        assert "protocol_address_mismatch" in text
        assert b"accept" in await asyncio.to_thread(made.ask)
        await made.reaches(Stage.NOT_REGISTERED, capsys)
        await asyncio.to_thread(made.bind)
        assert marked(await made.reaches(Stage.NO_BGP, capsys)) == "BGP"
        speaker = await asyncio.to_thread(made.speak, QUIET)
        assert marked(await made.reaches(Stage.NOTHING_ANNOUNCED, capsys)) == "prefixes"
        await asyncio.to_thread(speaker.type, *SPEAKER_FAMILY, "network 10.0.0.0/8")
        assert marked(await made.reaches(Stage.FILTERED, capsys)) == "prefixes"
        await asyncio.to_thread(speaker.type, *SPEAKER_FAMILY, "network 192.168.2.0/24")
        text = await made.reaches(Stage.UP, capsys)
        assert "1 accepted" in text
        assert "AS 64514" in text
        assert "1 CHILD_SA, the newest for " in text
        for words in (("sas",), ("sas", "side2"), ("sas", "10.255.0.2")):
            (listed,) = await made.command(capsys, *words)
            assert (listed["peer"], listed["state"]) == ("side2", "ESTABLISHED")
        await made.peer.ask("terminate", {"ike": "dmvpn"})
        text = await made.reaches(Stage.NO_IKE, capsys)
        assert "lost 1 time since" in " ".join(text.split())
        await made.peer.show(der(UNITS[:1], "side2", NOW - 2 * YEAR, NOW - YEAR), made.hub)
        async with running(made.keep_trying()):
            text = await made.reaches(Stage.AUTHENTICATION_FAILED, capsys)
        assert marked(text) == "IKE"
        assert "charon reported cert-expired" in " ".join(text.split())
        await made.disagree("proposals", "aes256-sha384-prfsha384-ecp384")
        async with running(made.keep_trying()):
            text = await made.reaches(Stage.NO_IKE, capsys)
        assert "charon reported proposal-mismatch-ike" in " ".join(text.split())
        await made.disagree("esp_proposals", "aes256-sha512")
        async with running(made.keep_trying()):
            await made.says("proposal-mismatch-child", capsys)
        assert "`esp_proposals`" in await made.reaches(Stage.NO_CHILD_SA, capsys)
        await made.peer.ask("terminate", {"ike": "dmvpn"})
        await made.peer.show(made.certificate, made.hub)
        await made.peer.ask("initiate", {"child": "dmvpn", "timeout": "5000"})
        text = await made.reaches(Stage.UP, capsys)
        assert (await made.command(capsys, "kick", "side2"))["ended"] == 1
        await made.reaches(Stage.NO_IKE, capsys)
        series = await asyncio.to_thread(made.scrape)
        assert 'dmvpn_agent_operator_commands_total{command="kick",outcome="done"} 1' in series
        assert re.search(r'^dmvpn_agent_peer_stage_changes_total\{stage="up"\} [2-9]', series, re.MULTILINE)
        entries = (await made.command(capsys, "history", "side2"))["entries"]
        assert {"terminate", "kick"} <= {one["what"] for one in entries}
        made.hub.kill()
        assert "charon cannot be read" in " ".join((await made.reaches(Stage.UNKNOWN, capsys)).split())
        entries = text.partition("TIME (UTC)")[2]
        assert [word for word in entries.split() if word in {"deny", "accept"}][:2] == ["deny", "accept"]
