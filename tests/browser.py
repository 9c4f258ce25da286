"""A real browser for tests of the page: Debian's chromium without a window, told what to do over a pipe."""

import asyncio
import base64
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or ""
MISSING = "chromium is not installed: apt-get install --no-install-recommends chromium"
#: chromium reads its orders from descriptor 3 and answers on 4.
_LAUNCH = """
import fcntl, os, sys
orders, answers = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3])
os.dup2(orders, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_OPTIONS = ("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--hide-scrollbars", "--font-render-hinting=none")  # fmt: skip
#: Seconds for one order, and for what has to come: under load the page has to read again, half a minute later.
TIMEOUT = 120.0


class Tab:
    """A page that is open. ``errors``: what its scripts raised, and what the browser refused to load or run."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.errors: list[str] = []
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._session = ""
        self._number = 0

    async def open(self) -> None:
        target = await self.order("Target.createTarget", url="about:blank")
        attached = await self.order("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self.order("Page.bringToFront")
        for domain in ("Page", "Runtime", "Log", "Accessibility", "Performance"):
            await self.order(f"{domain}.enable")

    async def listen(self) -> None:
        while text := await self._reader.readuntil(b"\0"):
            message = json.loads(text[:-1])
            if (waiting := self._waiting.pop(message.get("id", 0), None)) is not None and not waiting.done():
                if "error" in message:
                    waiting.set_exception(RuntimeError(str(message["error"])))
                else:
                    waiting.set_result(message["result"])
            elif message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"]))
            elif message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                # The server of the page that was open before may be gone.
                if entry["level"] == "error" and not entry["text"].startswith("Failed to load resource"):
                    self.errors.append(entry["text"])

    async def order(self, method: str, **values: Any) -> Any:
        self._number += 1
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        order = {"id": self._number, "method": method, "params": values}
        if self._session:
            order["sessionId"] = self._session
        self._writer.write(json.dumps(order).encode() + b"\0")
        async with asyncio.timeout(TIMEOUT):
            return await future

    async def visit(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        await self.order("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                         mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.order("Emulation.setEmulatedMedia", features=[scheme])
        await self.order("Page.navigate", url="about:blank")
        await self.order("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """Return the value of an expression."""
        found = await self.order("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    with suppress(RuntimeError):  # what it asks for is not there yet
                        if value := await self.run(script):
                            return value
                    await asyncio.sleep(0.02)
        except TimeoutError:
            shown = await self.run("document.body.innerText")
            raise AssertionError(f"not so: {script}\n{shown[:3000]}\n{self.errors}") from None

    async def press(self, key: str, text: str = "") -> None:
        code = {"Tab": 9, "Enter": 13, "Space": 32}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.order("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    async def names(self) -> set[tuple[str, str]]:
        """Return role and name of everything that a screen reader is told of."""
        tree = await self.order("Accessibility.getFullAXTree")
        return {
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node["ignored"]
        }

    async def photograph(self, file: Path) -> None:
        shot = await self.order("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def chromium() -> AsyncIterator[Tab]:
    """Run a browser with one tab, without any profile."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), CHROMIUM, *_OPTIONS,
            f"--user-data-dir={profile}", "about:blank", pass_fds=(theirs_in, theirs_out),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        for end in (theirs_in, theirs_out):
            os.close(end)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=64 << 20)
        incoming, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours_in, "rb")
        )
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(ours_out, "wb")
        )
        tab = Tab(reader, asyncio.StreamWriter(transport, protocol, None, loop))
        listening = asyncio.create_task(tab.listen())
        try:
            await tab.open()
            yield tab
        finally:
            listening.cancel()
            process.kill()
            await process.wait()
            transport.close()
            incoming.close()
