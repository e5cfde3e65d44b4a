"""A real browser without a window, driven over Chromium's own debugging protocol."""

import asyncio
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 60.0
"""Seconds that the browser has for any one thing: the machine may be busy."""


def find_chromium() -> str | None:
    """The browser's command; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One Chromium; ``folder`` gets its files. Each page is opened in the same tab."""

    def __init__(self, command: str, folder: Path):
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [command, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._loop = asyncio.new_event_loop()
        port = self._port(folder / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=WAIT) as answer:
            tab = next(one for one in json.load(answer) if one["type"] == "page")
        self._socket = self._loop.run_until_complete(self._connect(tab["webSocketDebuggerUrl"]))
        self._count = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    @staticmethod
    async def _connect(url: str) -> Any:
        return await websocket_connect(url, max_message_size=64 << 20)

    @staticmethod
    def _port(file: Path) -> int:
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            if file.exists() and (lines := file.read_text().splitlines()):
                return int(lines[0])
            time.sleep(0.02)
        raise TimeoutError("the browser did not start")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of the protocol gives; events that come meanwhile are kept."""
        self._count += 1
        message = json.dumps({"id": self._count, "method": method, "params": parameters})

        async def ask() -> dict[str, Any]:
            await self._socket.write_message(message)
            while True:
                answer = json.loads(await asyncio.wait_for(self._socket.read_message(), WAIT))
                if answer.get("id") == self._count:
                    return answer
                self.events.append(answer)

        answer = self._loop.run_until_complete(ask())
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Open a file, and wait until it says that it is drawn."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.body && document.body.dataset.ready === 'yes'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + WAIT
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.03)

    def place(self, script: str) -> tuple[float, float]:
        """The middle of an element, scrolled into view; ``script`` gives the element."""
        found = self.run(
            f"(() => {{ const one = {script}; one.scrollIntoView({{block: 'center', inline: 'center'}});"
            " const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return found[0], found[1]

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, script: str) -> None:
        """Click the middle of an element with the mouse; ``script`` gives the element."""
        x, y = self.place(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, text: str) -> None:
        """Take the option with this text, as a reader does."""
        self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            f" const option = [...one.options].find((found) => found.textContent === {json.dumps(text)});"
            " one.value = option.value; one.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def type(self, selector: str, text: str) -> None:
        """Type a text into a field."""
        self.click(f"document.querySelector({json.dumps(selector)})")
        self.call("Input.insertText", text=text)

    def texts(self, selector: str) -> list[str]:
        """The visible text of all elements that a CSS selector finds."""
        found: list[str] = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].filter((one) => one.checkVisibility())"
            ".map((one) => one.innerText)"
        )
        return found

    def requests(self) -> list[str]:
        """The addresses that the page asked for since it was opened."""
        return [
            one["params"]["request"]["url"] for one in self.events if one.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors and refusals that the browser noted since the page was opened."""
        found = [one["params"]["entry"]["text"] for one in self.events if one.get("method") == "Log.entryAdded"]
        found += [
            str(one["params"]["exceptionDetails"])
            for one in self.events
            if one.get("method") == "Runtime.exceptionThrown"
        ]
        return found

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(WAIT)
        self._loop.close()
