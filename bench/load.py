"""What locust does for bench/serving.py, in an environment of its own: each user sends one request after the other."""

import os
from pathlib import Path

from locust import FastHttpUser, task


class Client(FastHttpUser):
    """A client that sends the request in the file LOAD_BODY, and waits for nothing but the answer."""

    def on_start(self) -> None:
        self.body = Path(os.environ["LOAD_BODY"]).read_bytes()

    @task
    def ask(self) -> None:
        """One request; another status than 200 counts as a failure."""
        self.client.post("/invocations", data=self.body, headers={"Content-Type": "application/json"})
