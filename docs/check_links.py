"""Check that every internal link of the built site leads to a file, and every anchor to an element with its id.

Run after building: python docs/check_links.py build/site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of an HTML page and the ids that anchors can name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the links and ids of an element."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif value and (name == "id" or (tag == "a" and name == "name")):
                self.ids.add(value)


def broken_links(site: Path) -> list[str]:
    """Return a message for each internal link of the site that leads nowhere."""
    site = site.resolve()
    files = [path for path in sorted(site.rglob("*.html")) if site / "_static" not in path.parents]  # templates
    pages = {path: Page(path) for path in files}
    broken = []
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(url.fragment)
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].ids:
                broken.append(f"{path.relative_to(site)}: {link}: no such anchor")
    return broken


if __name__ == "__main__":
    if not (Path(sys.argv[1]) / "index.html").is_file():
        sys.exit(f"{sys.argv[1]} has no index.html: build the site first")
    sys.exit("\n".join(broken_links(Path(sys.argv[1]))) or None)
