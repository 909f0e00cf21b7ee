"""Commands for error messages that install what is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_CLONE = Path(__file__).parents[1]


class MissingExtraError(ModuleNotFoundError):
    """A package of an extra is not installed. The message has the command that installs it."""


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Raise an error with the ``pip`` command if an import in the ``with`` block fails.

    Args:
        what: what needs the import, for the message.
        extra: the extra of this package that installs it.

    Raises:
        MissingExtraError: if a package of another project is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "i2e_triton" or isinstance(error, MissingExtraError):
            raise
        raise MissingExtraError(
            f"{what} needs the package {error.name}: {pip_command(extra)}", name=error.name
        ) from error


def pip_command(extra: str) -> str:
    """Return the command that adds an extra to this installation: from a clone, a URL or an index."""
    if (_CLONE / "pyproject.toml").is_file():
        return f"pip install --editable '{_CLONE}[{extra}]'"
    url = _installed_from()
    return f"pip install 'i2e-triton[{extra}]{f' @ {url}' if url else ''}'"


def triton_command() -> str:
    """Return what to do if Triton is not installed."""
    return "pip install triton" if sys.platform == "linux" else "it exists for Linux only (on Windows, use WSL)"


def _installed_from() -> str | None:
    """Return the URL of the folder, file or repository that was installed; None for a package of an index."""
    try:
        text = distribution("i2e-triton").read_text("direct_url.json")  # PEP 610
    except PackageNotFoundError:
        return None
    if text is None:
        return None
    found = json.loads(text)
    if repository := found.get("vcs_info"):
        return f"{repository['vcs']}+{found['url']}@{repository['commit_id']}"
    return str(found["url"])
