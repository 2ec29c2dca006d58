"""Debian's Firefox, driven over its own Marionette protocol: JSON over TCP, each message with its length before it.

Protocol: https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html; the commands are those of WebDriver.
Of what goes wrong on a page, its console knows: errors of scripts, and what the Content-Security-Policy forbade.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

#: a profile of its own, on a port that is free, which asks nobody anything
PREFERENCES: dict[str, object] = {
    "marionette.port": 0,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.safebrowsing.blockedURIs.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "app.update.disabledForTesting": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
    # what is not on this machine does not exist
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": "127.0.0.1, localhost",
    "network.proxy.allow_hijacking_localhost": False,
}
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
#: what the console of the browser says of pages since it was last asked; of Firefox itself, nothing
CONSOLE = """
const found = Services.console.getMessageArray().filter((one) => one instanceof Ci.nsIScriptError);
Services.console.reset();
return found.filter((one) => /^(content|CSP|Content Security|CORS|Mixed)/i.test(one.category)
    && !(one.flags & Ci.nsIScriptError.warningFlag) && /^https?:/.test(one.sourceName || "http:"))
  .map((one) => `${one.category}: ${one.errorMessage} (${one.sourceName}:${one.lineNumber})`);
"""


@dataclass
class Firefox:
    """One window of it."""

    connection: socket.socket
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _rest: bytes = b""

    def ask(self, command: str, **parameters: Any) -> Any:
        """Send a command, and wait for its answer."""
        number = next(self._numbers)
        text = json.dumps([0, number, command, parameters]).encode()
        self.connection.sendall(b"%d:%s" % (len(text), text))
        kind, answered, error, result = self.read()
        assert (kind, answered) == (1, number)
        assert error is None, f"{command}: {error['message']}"
        return result["value"] if isinstance(result, dict) and set(result) == {"value"} else result

    def read(self) -> Any:
        """The next message."""
        while b":" not in self._rest:
            self._more()
        length, _, self._rest = self._rest.partition(b":")
        while len(self._rest) < int(length):
            self._more()
        text, self._rest = self._rest[: int(length)], self._rest[int(length) :]
        return json.loads(text)

    def _more(self) -> None:
        some = self.connection.recv(1 << 16)
        assert some, "Firefox has gone"
        self._rest += some

    # ----------------------------------------------------------------- pages

    def go(self, url: str) -> None:
        self.ask("WebDriver:Navigate", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script on the page; what it returns."""
        return self.ask("WebDriver:ExecuteScript", script=script, args=list(arguments), newSandbox=True)

    def within(self, script: str, *arguments: Any) -> Any:
        """Run a script in the browser itself."""
        self.ask("Marionette:SetContext", value="chrome")
        try:
            return self.run(script, *arguments)
        finally:
            self.ask("Marionette:SetContext", value="content")

    def one(self, selector: str) -> str:
        """The id of an element that there is by now."""
        wait_until(f"{selector} is there", lambda: self.run("return !!document.querySelector(arguments[0])", selector))
        found = self.ask("WebDriver:FindElement", using="css selector", value=selector)
        return str(found[ELEMENT])

    def click(self, selector: str) -> None:
        self.ask("WebDriver:ElementClick", id=self.one(selector))

    def fill(self, selector: str, text: str) -> None:
        self.ask("WebDriver:ElementSendKeys", id=self.one(selector), text=text)

    def text(self, selector: str = "main") -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText || ''", selector))

    def cookie(self, name: str, value: str) -> None:
        """Set a session's cookie for the site of the page that is open."""
        cookie = {"name": name, "value": value, "httpOnly": True, "sameSite": "Strict", "path": "/"}
        self.ask("WebDriver:AddCookie", cookie=cookie)

    def look(self, *, dark: bool) -> None:
        """As on a dark system, or on a light one."""
        name = "layout.css.prefers-color-scheme.content-override"
        self.within("Services.prefs.setIntPref(arguments[0], arguments[1])", name, 0 if dark else 1)

    def size(self, width: int, height: int) -> None:
        self.ask("WebDriver:SetWindowRect", width=width, height=height)

    def picture(self, file: Path, *, whole: bool = True) -> None:
        file.write_bytes(base64.b64decode(self.ask("WebDriver:TakeScreenshot", full=whole)))

    def wrong(self) -> list[str]:
        """What the console said of pages since it was last asked."""
        return list(self.within(CONSOLE))


@contextmanager
def firefox(program: str, folder: Path) -> Iterator[Firefox]:
    """Firefox without a screen, with a profile of its own below a folder."""
    profile = folder / "profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "HOME": str(folder), "MOZ_HEADLESS": "1", "MOZ_DISABLE_AUTO_SAFE_MODE": "1"}
    command = [
        program,
        "--marionette",
        "--remote-allow-system-access",
        "--headless",
        "--no-remote",
        "--profile",
        str(profile),
    ]
    with (folder / "firefox.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            port = profile / "MarionetteActivePort"
            wait_until("Firefox listens", lambda: port.exists() and port.read_text().strip(), seconds=60)
            with socket.create_connection(("127.0.0.1", int(port.read_text())), timeout=60) as connection:
                driven = Firefox(connection)
                driven.read()  # it greets
                driven.ask("WebDriver:NewSession", strictFileInteractability=True)
                yield driven
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
