"""The site builds without warnings, and its internal links lead somewhere."""

from __future__ import annotations

import runpy
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


def test_pictures_that_a_cell_saves_are_moved_to_the_site(tmp_path: Path) -> None:
    gallery = runpy.run_path(str(ROOT / "docs" / "gallery.py"))
    (tmp_path / "out").mkdir()
    for name in ("b.png", "a.gif", "notes.txt"):
        (tmp_path / "out" / name).write_text(name)
    paths = (str(tmp_path / f"image_{number}.png") for number in (1, 2))
    variables = {"src_file": str(tmp_path / "example.py"), "image_path_iterator": paths}
    rst = gallery["saved_pictures"](None, variables, {"src_dir": str(tmp_path)})
    assert rst.index("image_1.gif") < rst.index("image_2.png")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "image_1.gif",
        "image_2.png",
        "notes.txt",
    ]


def test_first_examples_exist_and_come_first() -> None:
    gallery = runpy.run_path(str(ROOT / "docs" / "gallery.py"))
    files = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert {f"{name}.py" for name in gallery["FIRST"]} <= files
    assert sorted(files, key=gallery["position"])[:2] == ["first_events.py", "photographs_to_network.py"]


@pytest.mark.slow
def test_pictures_of_the_guides_are_drawn(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs" / "pictures.py"))["main"](tmp_path)
    drawn = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert drawn == {"events.gif", "images/steps.png", "images/threshold.png", "images/timesteps.png"}
    assert all((ROOT / "docs" / name).is_file() for name in drawn)


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
