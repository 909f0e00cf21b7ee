"""The site builds without warnings, and its internal links lead somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK_LINKS = ROOT / "docs" / "check_links.py"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site without running the examples, in a copy of docs/ beside links to the rest of the repository."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("examples"))  # written by the build
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks", "examples", "i2e_triton"):
        (folder / name).symlink_to(ROOT / name)
    options = ("--fail-on-warning", "--keep-going", "-D", "plot_gallery=0")
    built = run("-m", "sphinx", *options, folder / "docs", folder / "site")
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


@pytest.mark.slow
def test_site_has_its_pages_and_no_broken_link(site: Path) -> None:
    pages = ("index", "concepts", "examples/first_events", "api/functions", "measurements", "changelog")
    missing = [page for page in (*pages, "web/index") if not (site / f"{page}.html").is_file()]
    assert missing == []
    assert 'id="i2e_triton.convert"' in (site / "api" / "functions.html").read_text()
    checked = run(CHECK_LINKS, site)
    assert checked.returncode == 0, checked.stderr


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<a href="a.html#x">1</a> <a href="sub/">2</a> <a href="https://x.org">3</a>')
    (tmp_path / "a.html").write_text('<p id="x"></p> <a href="#x"></a> <img src="index.html?size=1">')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<a href="../a.html#y">1</a> <img src="b.png"> <a href="#z">2</a>')
    checked = run(CHECK_LINKS, tmp_path)
    assert checked.returncode == 1
    assert checked.stderr.split("\n")[:-1] == [
        "sub/index.html: ../a.html#y: no such anchor",
        "sub/index.html: b.png: no such file",
        "sub/index.html: #z: no such anchor",
    ]


def test_site_must_be_built_before_it_is_checked(tmp_path: Path) -> None:
    checked = run(CHECK_LINKS, tmp_path)
    assert checked.returncode == 1
    assert "build the site first" in checked.stderr
