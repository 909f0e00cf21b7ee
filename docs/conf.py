"""Sphinx builds the site with this configuration: ``make docs``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

import i2e_triton

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))  # for the functions of gallery.py below, which Sphinx-Gallery finds by their names

project = "i2e-triton"
author = "the i2e-triton authors"
release = i2e_triton.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
# The architecture is drawn with Mermaid, which Sphinx does not render. Code-hosting sites do.
exclude_patterns = ["architecture.md"]
highlight_language = "none"  # of blocks without a language
nitpicky = True
# Names of other libraries, whose documentation is not downloaded so that the site builds without network; and the
# names of unions of types, which Sphinx does not document.
_LIBRARIES = "collections|io|matplotlib|np|npt|numpy|os|pathlib|PIL|pl|pytorch_lightning|torch|torchvision|typing"
_TYPES = "Axes|Dataset|Figure|Images|Location|Order|Path|Tensor"
nitpick_ignore_regex = [("py:.*", rf"({_LIBRARIES})\..*|{_TYPES}")]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery.position",
    "image_scrapers": ("matplotlib", "gallery.saved_pictures"),
    "abort_on_example_error": True,
    "capture_repr": (),
    "doc_module": ("i2e_triton",),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "i2e-triton"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}
html_sidebars: dict[str, list[str]] = {"quickstart": [], "concepts": [], "performance": [], "changelog": []}


def link_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Link to pages of the site where the files of ``docs/`` link to files outside of it."""
    source[0] = source[0].replace("](../benchmarks/REPORT.md", "](measurements.md")


def copy_browser_page(app: Sphinx, error: Exception | None) -> None:
    """Copy the browser page into the site."""
    if error is None and app.builder.format == "html":
        shutil.copytree(ROOT / "i2e_triton" / "web", Path(app.outdir) / "web", dirs_exist_ok=True)


def setup(app: Sphinx) -> None:
    """Connect the functions of this file to the build."""
    app.connect("source-read", link_pages)
    app.connect("build-finished", copy_browser_page)
