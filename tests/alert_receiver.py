"""A local receiver of alerts: an HTTP server that keeps what Apprise's `json://` brings."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class AlertReceiver:
    """`messages` are those that were taken, title and body in one text. `status`: what it answers from now on."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = server.server_address[1]
        self.url = f"json://user:t0ken-in-url@127.0.0.1:{self.port}/s3cret-path?x=s3cret-query"
        self.status = 200
        self.messages: list[str] = []
        self.refused = 0

    @property
    def lines(self) -> list[str]:
        """Every line of every message, titles left out."""
        return [line for message in self.messages for line in message.splitlines()[1:]]

    def told(self, text: str) -> int:
        """In how many lines the text is."""
        return sum(text in line for line in self.lines)


@contextmanager
def alert_receiver() -> Iterator[AlertReceiver]:
    """Runs until the block ends."""
    found: list[AlertReceiver] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver = found[0]
            if receiver.status == 200:
                receiver.messages.append(f"{content['title']}\n{content['message']}")
            else:
                receiver.refused += 1
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.append(AlertReceiver(server))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
