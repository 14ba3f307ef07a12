"""Servers on loopback that play a collector of OpenTelemetry and the ingest of Sentry: real HTTP, real protobuf."""

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Telemetry:
    """What a server was sent."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    def named(self, beginning: str) -> list[Span]:
        """The spans whose name begins with a word."""
        return [span for span in self.spans if span.name.split()[0] == beginning]


def attributes_of(span: Any) -> dict[str, Any]:
    """The attributes of a span, link or event."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@contextmanager
def telemetry_server() -> Iterator[Telemetry]:
    """A server that accepts spans on /v1/traces and Sentry's envelopes elsewhere."""
    found = Telemetry()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                _add_spans(found, body)
            else:
                _add_envelope(found, body)
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers; its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def dead_url() -> str:
    """The URL of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _add_spans(found: Telemetry, body: bytes) -> None:
    request = ExportTraceServiceRequest.FromString(body)
    for of_resource in request.resource_spans:
        found.resources.append(attributes_of(of_resource.resource))
        for of_scope in of_resource.scope_spans:
            found.spans.extend(of_scope.spans)


def _add_envelope(found: Telemetry, body: bytes) -> None:
    found.bodies.append(body.decode())
    lines = body.decode().splitlines()
    position = 1
    while position + 1 < len(lines):
        if json.loads(lines[position]).get("type") == "event":
            found.events.append(json.loads(lines[position + 1]))
        position += 2
