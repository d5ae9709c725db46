"""A small proxy that shows a page under a path, as examples/docker/nginx.conf lets nginx do it."""

import contextlib
import http.client
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OWN = {"connection", "transfer-encoding", "keep-alive"}  # of one connection, not of what is sent over it


@contextlib.contextmanager
def reverse_proxy(to: str, root_path: str) -> Iterator[str]:
    """Shows what is at the address ``to`` under a path; its address there, with a slash at the end."""
    target = urllib.parse.urlsplit(to)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

        def do_GET(self) -> None:
            if not self.path.startswith(f"{root_path}/"):
                self.send_error(404)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {*OWN, "host"}}
            headers |= {"X-Forwarded-Host": self.headers["Host"], "X-Forwarded-Proto": "http"}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            connection = http.client.HTTPConnection(target.netloc, timeout=300)
            with contextlib.closing(connection), contextlib.suppress(OSError):  # browsers leave when they like
                connection.request(self.command, self.path[len(root_path) :], body, headers)
                answer = connection.getresponse()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in OWN:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                while chunk := answer.read1(65536):
                    self.wfile.write(chunk)
                    self.wfile.flush()
            self.close_connection = True

        do_POST = do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{root_path}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
