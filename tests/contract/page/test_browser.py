"""The page in a real browser."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from browser import CHROMIUM, MISSING, Tab, chromium
from dmvpn_agent.page.settings import NodeSettings
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.view.peer_json import peer_summary
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.stages_text import TEXTS, remedy
from fakes.agents import FakeAgent, crowd, peer, serving
from page_process import Client, page

pytestmark = [
    pytest.mark.contract,
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CHROMIUM, reason=MISSING),
    pytest.mark.skipif(os.geteuid() != 0, reason="chromium is run as root, without its sandbox"),
]

#: What an attacker would put into a certificate's subject.
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'\"&lt;\u202eevil\x1b[2J"
ROWS = "document.querySelectorAll('tbody tr').length"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab() -> AsyncIterator[Tab]:
    async with chromium() as tab:
        yield tab


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


#: The contrast of each colour on each background, as a part of what WCAG 2 asks for.
CONTRASTS = """(() => {
  const root = getComputedStyle(document.documentElement);
  const probe = document.body.appendChild(document.createElement('i'));
  const linear = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (name) => {
    probe.style.color = root.getPropertyValue(name);
    const [r, g, b] = getComputedStyle(probe).color.match(/[\\d.]+/g).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = {};
  for (const back of ['--back', '--card']) {
    for (const text of ['--text', '--quiet', '--accent']) found[text + back] = contrast(text, back) / 4.5;
    for (const mark of ['--up', '--ike', '--nhrp', '--denied', '--bgp', '--unknown']) {
      found[mark + back] = contrast(mark, back) / 3;
    }
  }
  probe.remove();
  return found;
})()"""


async def _show(tab: Tab, client: Client, where: str = "", **looks: object) -> None:
    tab.errors.clear()
    await tab.visit(f"{client.url}/{where}", **looks)  # type: ignore[arg-type]


async def _text(tab: Tab, selector: str) -> str:
    found = f"document.querySelector({selector!r})"
    return str(await tab.run(f"{found}?.innerText ?? {found}?.textContent ?? ''"))


def _node(client: Client) -> str:
    return client.app.nodes[0].name


async def test_the_peers_are_filtered_and_sorted(tab: Tab, socket_path: Path) -> None:
    """By text, stage and column; who is stuck comes first."""
    async with serving(socket_path, FakeAgent(crowd(30), charon={"connected": False})), page(socket_path) as client:
        await _show(tab, client)
        await tab.until(f"{ROWS} === 30")
        assert "no IKE_SA" in await _text(tab, "tbody tr")
        assert "charon is away" in await _text(tab, ".node")
        assert "degraded" in await _text(tab, ".node .badge")
        await tab.run("(search.value = 'spoke17', search.dispatchEvent(new Event('input')))")
        assert await tab.run(ROWS) == 1
        await tab.run("(search.value = '', stage.value = 'down', stage.dispatchEvent(new Event('change')))")
        assert await tab.run(ROWS) == sum(not one.up for one in crowd(30))
        await tab.run("(stage.value = '', stage.dispatchEvent(new Event('change')))")
        await tab.run("document.querySelector('thead button').click()")
        assert await _text(tab, "tbody tr a") == "hub2"
        assert await tab.run("document.querySelector('th[aria-sort]').ariaSort") == "ascending"
        await tab.run("document.querySelector('thead button').click()")
        assert await _text(tab, "tbody tr a") == "spoke30"
        assert tab.errors == []


async def test_the_picture_shows_stages_by_colour_and_shape(tab: Tab, socket_path: Path) -> None:
    """Traffic is the width of a line, a shortcut a double one; a screen reader is given the figures."""
    peers = [*crowd(40), peer(99, kind=PeerKind.SHORTCUT, shortcuts=crowd(3)[2].prefixes)]
    async with serving(socket_path, FakeAgent(peers, busy=True)), page(socket_path) as client:
        await _show(tab, client)
        await tab.until("document.querySelectorAll('.picture [data-link]').length === 41")
        shapes = "new Set([...document.querySelectorAll('.picture path.{}')].map(one => one.getAttribute('d')))"
        seen = [await tab.run(f"[...{shapes.format(group)}].join()")
                for group in ("up:not(.hub)", "ike", "denied", "nhrp", "bgp")]  # fmt: skip
        assert len(set(seen)) == len(seen)
        assert await tab.run("document.querySelectorAll('.picture .gap').length") == 1
        assert await tab.run("document.querySelectorAll('.picture .link.down').length") == 6
        label = await tab.run("document.querySelector('.picture svg').getAttribute('aria-label')")
        assert "41 peers, 35 of them up" in label
        widths = "[...document.querySelectorAll('.link.up')].map(one => one.getAttribute('stroke-width'))"
        await tab.until(f"new Set({widths}).size > 5")
        click = "dispatchEvent(new Event('click', {bubbles: true}))"
        await tab.run(f"document.querySelector('.picture [data-link]').{click}")
        await tab.until("document.querySelector('.stages') !== null")


@pytest.mark.parametrize("stage", list(Stage))
async def test_a_peers_page_says_where_it_is_stuck_and_what_to_do(tab: Tab, socket_path: Path, stage: Stage) -> None:
    """The same words as `dmvpn-agent peer`."""
    async with serving(socket_path, FakeAgent([peer(7, stage)])), page(socket_path) as client:
        await _show(tab, client, f"#/peer/{_node(client)}/spoke7")
        await tab.until("document.querySelector('.stages') !== null")
        assert TEXTS[stage].title in await _text(tab, "h2")
        failed = await tab.run("document.querySelectorAll('.stages .failed').length")
        assert failed == (stage not in {Stage.UP, Stage.UNKNOWN})
        if failed:
            text = await _text(tab, ".stages .failed")
            assert remedy(peer_summary(peer(7, stage), utc_now())) in text
        passed = await tab.run("document.querySelectorAll('.stages .passed').length")
        assert (passed == 6) is (stage is Stage.UP)
        assert "CN=spoke7" in await _text(tab, "dl")
        assert "neighbor and filter" in await _text(tab, "article.peer table")
        assert tab.errors == []


async def test_nothing_in_a_certificate_becomes_part_of_the_page(tab: Tab, socket_path: Path) -> None:
    """Every text of a peer, of a node, and of a failure is shown as text, without what is invisible."""
    evil = peer(7, Stage.DENIED, EVIL, subject=EVIL, why=EVIL, interface=EVIL, fingerprint=EVIL)
    async with (
        serving(socket_path, FakeAgent([evil, peer(8)], nhrpd={"connected": True, "trouble": EVIL})),
        page(socket_path) as client,
    ):
        await _show(tab, client)
        await tab.until(f"{ROWS} === 2")
        await tab.until("document.querySelectorAll('.picture [data-link]').length === 2")
        await tab.run("document.querySelector('tbody a[href*=img]').click()")
        await tab.until("document.querySelector('.stages') !== null")
        assert "onerror" in await _text(tab, "h2")
        await tab.run(f"location.hash = '#/peer/x/' + encodeURIComponent({EVIL!r})")
        await tab.until("document.querySelector('.trouble:not([hidden])') !== null")
        await tab.run("location.hash = '#/history'")
        await tab.until(f"{ROWS} > 2")
        for view in ("#/", f"#/peer/{_node(client)}/spoke8", "#/history"):
            await tab.run(f"location.hash = {view!r}")
            assert await tab.run("document.querySelectorAll('main img, script:not([src]), iframe').length") == 0
            text = await tab.run("document.documentElement.outerHTML")
            assert "\u202e" not in text
            assert "\x1b" not in text
        assert await tab.run("document.title") != "owned"
        assert tab.errors == []


async def test_no_script_but_the_pages_own_runs(tab: Tab, socket_path: Path) -> None:
    """Even if a text became an element, the browser would refuse: no inline script, no other server, no HTML."""
    async with serving(socket_path, FakeAgent([peer(7)])), page(socket_path) as client:
        await _show(tab, client)
        await tab.until(f"{ROWS} === 1")
        inline = (
            "(() => {const s = document.createElement('script'); try { s.text = 'window.owned = 1' } catch { return }"
        )
        await tab.run(inline + " document.body.append(s)})()")
        assert await tab.run("window.owned === undefined")
        assert (
            await tab.run("(() => {try { document.body.innerHTML = '<p>'; return 'set' } catch { return 'no' }})()")
            == "no"
        )
        assert await tab.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'no')") == "no"
        assert any("Content Security Policy" in one or "TrustedScript" in one for one in tab.errors)


async def test_a_node_that_goes_away_is_not_shown_as_healthy(tab: Tab, tmp_path: Path) -> None:
    """Its reason, the age of what is known, and no peer of it that is up; back when it answers again."""
    one, two = tmp_path / "one.sock", tmp_path / "two.sock"
    nodes = NodeSettings("hub1", one), NodeSettings("hub2", two)
    peers = [peer(number) for number in range(1, 6)]
    async with serving(one, FakeAgent(peers)), page(tmp_path / "none", *nodes) as client:
        async with serving(two, FakeAgent([peer(50), peer(51)])):
            await _show(tab, client)
            await tab.until(f"{ROWS} === 7")
            assert await tab.run("document.querySelectorAll('.node.healthy').length") == 2
        await tab.until("document.querySelectorAll('.node.away').length === 1")
        text = await _text(tab, ".node.away")
        assert "not reachable" in text
        assert "is the agent running?" in text
        assert "It answered last" in text
        stages = "[...document.querySelectorAll('tr.old td:nth-child(3)')].map(one => one.innerText.trim())"
        assert await tab.run(stages) == ["○ unknown", "○ unknown"]
        assert "hub2 does not answer; the stage was up then" in await _text(tab, "tr.old .why")
        await tab.until("document.querySelector('.picture .center.away').textContent.includes('not reachable')")
        async with serving(two, FakeAgent([peer(50), peer(51)])):
            await tab.until("document.querySelectorAll('.node.healthy').length === 2")
            await tab.until("document.querySelectorAll('tr.old').length === 0")


async def test_a_page_whose_server_is_gone_says_so(tab: Tab, socket_path: Path) -> None:
    """What is left is greyed, with its age."""
    async with serving(socket_path, FakeAgent(crowd(5))):
        async with page(socket_path) as client:
            await _show(tab, client)
            await tab.until(f"{ROWS} === 5")
        await tab.until("document.body.classList.contains('stale')")
        assert "does not answer" in await _text(tab, "#trouble")


async def test_a_node_may_send_anything(tab: Tab, socket_path: Path) -> None:
    """Values of other types, and far too many peers, do not stop the page."""
    agent = FakeAgent([peer(7)])

    async def odd(request: object) -> object:
        answer = await FakeAgent.answer(agent, request)  # type: ignore[arg-type]
        if answer["schema"] == "peers/1":  # type: ignore[index]
            (good,) = answer["data"]["peers"]  # type: ignore[index]
            broken = {key: 7 if isinstance(value, str | list | dict) else "x" for key, value in good.items()}
            many = [{**good, "name": f"peer{number}", "why": "x" * 500} for number in range(4000)]
            answer["data"]["peers"] = [None, 7, [], {}, broken, {**broken, "name": "odd"}, good, *many]  # type: ignore[index]
        if answer["schema"] == "status/1":  # type: ignore[index]
            answer["data"] |= {"faults": 7, "peer_counts": "x", "role": [], "degraded": "no"}  # type: ignore[index]
        return answer

    agent.answer = odd  # type: ignore[assignment,method-assign]
    async with serving(socket_path, agent), page(socket_path) as client:
        await _show(tab, client)
        await tab.until(f"{ROWS} === 2000")
        assert "unknown" in await _text(tab, ".node .badge")
        assert "2002 more are not shown" in await _text(tab, "#count")
        assert tab.errors == []


async def test_the_keyboard_reaches_everything_and_a_screen_reader_names_it(tab: Tab, socket_path: Path) -> None:
    """Without a mouse: to the filter, to a column, to a peer and back."""
    async with serving(socket_path, FakeAgent(crowd(5))), page(socket_path) as client:
        await _show(tab, client)
        await tab.until(f"{ROWS} === 5")
        names = await tab.names()
        for role, name in (("main", ""), ("navigation", "Views"), ("button", "Pause"), ("searchbox", "Filter"),
                           ("combobox", "Stage"), ("region", "Table of the peers"), ("link", "spoke3"),
                           ("columnheader", "Stage"), ("rowheader", "spoke3"),
                           ("link", "To the content")):  # fmt: skip
            assert (role, name) in names, (role, name)
        assert any(role == "image" and name.startswith("Picture of the overlay") for role, name in names)
        assert all(name for role, name in names if role in {"button", "link", "searchbox", "combobox", "image"})
        await tab.press("Tab")
        assert await tab.run("document.activeElement.className") == "skip"
        await tab.press("Enter", "\r")
        assert await tab.run("document.activeElement.id") == "main"
        seen: list[str] = []
        while "spoke3" not in seen and len(seen) < 30:
            await tab.press("Tab")
            seen.append(await tab.run("document.activeElement.id || document.activeElement.innerText"))
        assert "search" in seen
        assert "Stage" in seen
        await tab.press("Enter", "\r")
        await tab.until("document.querySelector('.stages') !== null")
        assert await tab.run("document.activeElement.id") == "main"


@pytest.mark.parametrize("dark", [False, True])
async def test_texts_stand_out_from_their_background(tab: Tab, socket_path: Path, dark: bool) -> None:
    """By WCAG 2's contrast of 4.5 for text, 3 for the marks, light and dark."""
    async with serving(socket_path, FakeAgent(crowd(5))), page(socket_path) as client:
        await _show(tab, client, dark=dark)
        await tab.until(f"{ROWS} === 5")
        found = await tab.run(CONTRASTS)
        assert {name: ratio for name, ratio in found.items() if ratio < 1} == {}


async def test_a_password_is_asked_for_once(tab: Tab, socket_path: Path, tmp_path: Path) -> None:
    """Also if it was typed into the address: scripts and data then come with it."""
    users = tmp_path / "users"
    users.write_text("eve:secret\n")
    async with (
        serving(socket_path, FakeAgent([peer(7)])),
        page(socket_path, access=HttpAccess(users=users)) as client,
    ):
        await tab.visit(client.url.replace("://", "://eve:secret@"))
        await tab.until(f"{ROWS} === 1")
        await _show(tab, client, f"#/peer/{_node(client)}/spoke7")
        await tab.until("document.querySelector('.stages') !== null")


async def test_a_thousand_peers_are_shown(tab: Tab, socket_path: Path) -> None:
    """All of them, in table and picture; what is painted first is not all of the table."""
    async with serving(socket_path, FakeAgent(crowd(1000))), page(socket_path) as client:
        await _show(tab, client)
        await tab.until(f"{ROWS} === 1000")
        await tab.until("document.querySelectorAll('.picture [data-link]').length === 1000")
        assert await tab.run("performance.getEntriesByName('peers-painted').length") == 1


async def test_the_page_is_live(tab: Tab, socket_path: Path) -> None:
    """A peer that moves does so on the page, until somebody pauses it."""
    agent = FakeAgent([peer(7)])
    async with serving(socket_path, agent), page(socket_path) as client:
        await _show(tab, client)
        await tab.until("document.querySelector('tbody').innerText.includes('● up')")
        agent.peers = [replace(peer(7, Stage.DENIED))]
        await tab.until("document.querySelector('tbody').innerText.includes('■ denied')")
        await tab.until("document.querySelector('#news').textContent.startsWith('0 of 1')")
        await tab.run("pause.click()")
        asked = len(agent.asked)
        await tab.until("document.querySelector('#age').textContent.includes('paused')")
        await asyncio.sleep(0)
        assert len(agent.asked) <= asked + 2
