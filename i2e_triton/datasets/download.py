"""Find the files of the official data sets in the Hugging Face cache, and download them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from i2e_triton.install_hints import needs_extra

#: The repository of the official data sets. It has a folder of Parquet files for each data set.
REPOSITORY = "UESTC-BICS/I2E"


def repository_url() -> str:
    """Return the address of the repository, below ``HF_ENDPOINT`` if it is set."""
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/datasets/{REPOSITORY}"


def cached_folder(name: str, split: str) -> Path | None:
    """Return the folder of a data set in the Hugging Face cache, or None if the cache does not have the split.

    The network is not used. Without huggingface_hub, the result is None.
    """
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        return None
    try:
        snapshot = snapshot_download(
            REPOSITORY, repo_type="dataset", allow_patterns=_pattern(name, split), local_files_only=True
        )
    except FileNotFoundError:  # LocalEntryNotFoundError
        return None
    return Path(snapshot) / name


def download_split(root: Path, name: str, split: str) -> None:
    """Download the Parquet files of a split to ``root / name``.

    The download shows its progress, resumes after an interruption and keeps files that are complete. huggingface_hub
    does the transfer. It uses the environment variables ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HUB_ETAG_TIMEOUT``
    and ``HF_HUB_DOWNLOAD_TIMEOUT``, and the token of ``HF_TOKEN`` or ``hf auth login``.

    Args:
        root: the folder that gets a folder ``name``.
        name: name of the data set: its folder in the repository.
        split: name of the split: the first word of its file names.

    Raises:
        ModuleNotFoundError: if huggingface_hub is not installed.
        OSError: if the files do not exist, a transfer fails, or a file does not have the size that the server states.
            The message says why, and which files to put where.
    """
    with needs_extra("download=True", "hub"):
        from huggingface_hub import HfApi, constants, hf_hub_download
    with hub_errors(
        f"{name} ({split}) could not be downloaded from {repository_url()}",
        f"Run it again to resume, or {put_files(root, name, split)}",
    ):
        # HfApi waits without limit for a server that does not answer, unless a timeout is passed.
        listing = HfApi().dataset_info(REPOSITORY, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        files = [file.rfilename for file in listing.siblings or () if fnmatch(file.rfilename, _pattern(name, split))]
        if not files:
            raise FileNotFoundError(f"the repository has no file {_pattern(name, split)}")
        for path in files:
            hf_hub_download(REPOSITORY, path, repo_type="dataset", revision=listing.sha, local_dir=root)


@contextmanager
def hub_errors(problem: str, advice: str = "") -> Iterator[None]:
    """Raise any error of huggingface_hub as an OSError: the problem, the reason in one line, and the advice."""
    try:
        yield
    except Exception as error:  # huggingface_hub raises the errors of its HTTP library, which depends on its version
        raise OSError("\n".join(filter(None, (f"{problem}: {_reason(error)}", advice)))) from error


def put_files(root: Path, name: str, split: str) -> str:
    """Return the sentence that says which files to put where."""
    return f"put the files {_pattern(name, split)} of {repository_url()}/tree/main into {root / name}"


def _pattern(name: str, split: str) -> str:
    return f"{name}/{split}*.parquet"


def _reason(error: Exception) -> str:
    """Return the message of an error in one line, and what to do about a missing permission."""
    text = " ".join(str(error).split())[:400] or type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None)
    login = " Log in with hf auth login, or set HF_TOKEN." if status in (401, 403) else ""
    return f"{type(error).__name__}: {text}{login}"
