"""``i2e web``: serve the browser page on this computer. It needs only the standard library and the files in ``web``."""

from __future__ import annotations

import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from i2e_triton.cli.options import in_range, option_error

#: The page. It also works when ``index.html`` is opened as a file.
FOLDER = Path(__file__).parents[1] / "web"


def web(
    port: Annotated[
        int,
        typer.Option(metavar="N", callback=in_range(0, 65535), help="Port on 127.0.0.1; 0 chooses a free one."),
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open no browser.")] = False,
) -> None:
    """Convert pictures and the webcam to events in the browser, until Ctrl+C.

    The browser does the conversion. No picture leaves this computer, and the page makes no request to the network.
    """
    try:
        server = new_server(port)
    except OSError as error:
        raise option_error(
            "--port", f"cannot use port {port}: {error.strerror}; omit the option for a free one"
        ) from error
    with server:
        url = f"http://127.0.0.1:{server.server_port}/"
        typer.echo(f"{url}  (Ctrl+C ends)")
        if not no_browser:
            webbrowser.open(url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo()


class _Handler(SimpleHTTPRequestHandler):
    # Registries of file types, such as that of Windows, may have other types for these suffixes.
    extensions_map = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}  # noqa: RUF012

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a line per request would hide the URL."""


def new_server(port: int) -> ThreadingHTTPServer:
    """Return a server of the page that listens on 127.0.0.1. Raise OSError if the port cannot be used."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(FOLDER)))
