"""Counts the requests of this process, for the benchmarks of stores."""

from typing import Any

import requests


class Traffic:
    """Counts requests, the bytes of their bodies (`sent`), and the bytes of their answers (`received`)."""

    def __init__(self) -> None:
        self.clear()
        send = requests.Session.send

        def counted(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            answer = send(session, request, **options)
            self.requests += 1
            self.sent += int(request.headers.get("Content-Length") or 0)
            self.received += len(answer.content)
            return answer

        requests.Session.send = counted  # type: ignore[method-assign]

    def clear(self) -> None:
        """Count from 0 again."""
        self.requests = self.sent = self.received = 0
