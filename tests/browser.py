"""Headless Chromium, driven by its DevTools protocol; tests that need it are skipped where there is none."""

import json
import shutil
import subprocess
import time
import urllib.request

import pytest
import websocket

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH (Debian: apt-get install chromium)"
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


class Browser:
    """One tab, which opens pages and evaluates expressions; `complaints` holds errors, warnings and network requests."""

    def __init__(self, folder):
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.complaints, self.asked = [], 0
        address = folder / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (address.exists() and address.read_text().count("\n")) and time.monotonic() < deadline:
            time.sleep(0.1)
        port = address.read_text().split("\n")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            (tab,) = [tab for tab in json.load(answer) if tab["type"] == "page"]
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], suppress_origin=True, timeout=60)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        self.asked += 1
        self.socket.send(json.dumps({"id": self.asked, "method": method, "params": params}))
        return self.listen(lambda message: message.get("id") == self.asked)["result"]

    def listen(self, wanted):
        """Wait for a message that is `wanted`; errors, warnings and network requests on the way become complaints."""
        while True:
            message = json.loads(self.socket.recv())
            method, params = message.get("method"), message.get("params", {})
            if method == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
                self.complaints.append(params["entry"]["text"])
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"]["text"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("warning", "error"):
                self.complaints.append(str(params["args"]))
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                self.complaints += [] if url.startswith(("file:", "data:", "about:")) else [url]
            if wanted(message):
                return message

    def open(self, path, width=1100):
        self.complaints.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 500)
        self.ask("Page.navigate", url=path.as_uri())
        self.listen(lambda message: message.get("method") == "Page.loadEventFired")

    def value(self, expression):
        """The JavaScript expression's value in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=30)

    def text_of(self, url, awaited):
        """The text of a page, as soon as it has these words; its server may still be starting."""
        deadline, text = time.monotonic() + 180, ""
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(url.partition("#")[0]).close()
                break
            except OSError:
                time.sleep(0.2)
        self.ask("Page.navigate", url="about:blank")  # a change after the # alone loads no page
        self.ask("Page.navigate", url=url)
        while time.monotonic() < deadline:
            text = self.value("document.body ? document.body.innerText : ''")
            if all(words in text for words in awaited):
                return text
            time.sleep(0.2)
        raise AssertionError(f"{[words for words in awaited if words not in text]} not in {url}: {text}")
