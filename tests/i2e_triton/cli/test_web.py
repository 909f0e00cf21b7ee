from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from i2e_triton.cli.web import FOLDER, new_server
from tests.i2e_triton.cli.conftest import I2E, plain


@pytest.fixture
def url() -> Iterator[str]:
    """Serve the page in a thread and return its address."""
    with new_server(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/base.css", "text/css"), ("/vendor/gifenc.js", "text/javascript")]
)
def test_server_sends_the_files_of_the_page(url: str, path: str, kind: str) -> None:
    with urllib.request.urlopen(url + path) as response:
        assert response.headers["Content-Type"] == kind
        assert response.read() == (FOLDER / (path[1:] or "index.html")).read_bytes()


@pytest.mark.parametrize("path", ["/../cli/web.py", "/%2e%2e/cli/web.py", "/missing.js"])
def test_server_sends_no_other_files(url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url + path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the browser and the server's loop; return the addresses that the browser opens."""
    addresses: list[str] = []

    def interrupted(server: ThreadingHTTPServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, "open", addresses.append)
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", interrupted)
    return addresses


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_web_opens_the_browser_and_ends_with_status_0_on_ctrl_c(i2e: I2E, opened: list[str]) -> None:
    port = free_port()
    finished = i2e("web", "--port", port)
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.split()[0] == f"http://127.0.0.1:{port}/"
    assert opened == [f"http://127.0.0.1:{port}/"]


def test_no_browser(i2e: I2E, opened: list[str]) -> None:
    finished = i2e("web", "--no-browser")
    assert finished.status == 0
    assert finished.out.startswith("http://127.0.0.1:")
    assert opened == []


def test_a_used_port_is_reported(i2e: I2E) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        finished = i2e("web", "--port", port)
    assert finished.status == 2
    assert f"cannot use port {port}: Address already in use" in plain(finished.err)


def test_port_is_checked(i2e: I2E) -> None:
    finished = i2e("web", "--port", 65536)
    assert finished.status == 2
    assert "must be 0 to 65535, got 65536" in plain(finished.err)
