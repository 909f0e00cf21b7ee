"""``i2e push``: upload a converted data set to the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from i2e_triton.cli.options import checked_by, option_error
from i2e_triton.cli.terminal import exit_on_errors, print_line
from i2e_triton.install_hints import pip_command

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from i2e_triton.pipeline.manifest import Manifest

#: huggingface_hub waits without limit for a server that does not answer, unless the timeout is set.
_TIMEOUT_S = 120
_SHOWN = 5  # file names in the plan


def _check_repository(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"must be OWNER/NAME, got {name!r}")
    return name


def _check_license(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise ValueError(f"must be an identifier of the Hugging Face hub such as cc-by-4.0, mit or other, got {name!r}")
    return name


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="Output folder of `i2e dataset`.")
    ],
    repository: Annotated[
        str,
        typer.Argument(
            metavar="OWNER/NAME",
            callback=checked_by(_check_repository),
            help="Data set repository on the hub; created if it does not exist.",
        ),
    ],
    license: Annotated[
        str,
        typer.Option(
            metavar="ID",
            callback=checked_by(_check_license),
            help="Licence of the data set, for example cc-by-4.0. The licence of the images decides what is allowed.",
        ),
    ],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Upload without asking.")] = False,
) -> None:
    """Upload a converted data set to the Hugging Face hub, with a data set card.

    The card states the settings, event rates and sizes, and how to load the data set. The plan and the card are shown
    first, and nothing is changed before you agree.

    Shards of an earlier upload that are not in FOLDER are deleted. After an interruption, rerun the same command.

    Log in first with `hf auth login`, or set HF_TOKEN to a token that can write.
    """
    from i2e_triton.cli.dataset_card import dataset_card
    from i2e_triton.datasets.download import hub_errors

    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import get_session
    except ModuleNotFoundError as error:
        raise option_error(None, f"i2e push needs {error.name}: {pip_command('hub')}") from error
    errors = Console(stderr=True)
    with exit_on_errors(errors):
        manifest = _read_complete(folder)
        card = dataset_card(manifest, repository, license)
        with hub_errors(f"{repository} could not be read"):
            get_session().timeout = _TIMEOUT_S
            plan = _make_plan(HfApi(), repository, folder, manifest)
    _print_plan(plan, private, license, card)
    if not yes:
        typer.confirm("Upload?", abort=True)
    with exit_on_errors(errors), hub_errors(f"{repository} could not be uploaded", "Rerun the same command to resume"):
        url = _upload(HfApi(), plan, private, card)
    typer.echo(f"uploaded to {url}")


@dataclass(frozen=True)
class _Plan:
    repository: str
    exists: bool
    files: dict[str, Path]  #: path in the repository -> file
    deleted: list[str]  #: shards in the repository that are not in the data set


def _read_complete(folder: Path) -> Manifest:
    """Return the manifest of a complete data set in few files.

    Raises:
        ValueError: if the data set is not complete, a shard has another size, or each image has a file of its own.
    """
    from i2e_triton.pipeline.manifest import is_finished, read_manifest

    manifest = read_manifest(folder)
    if manifest is None or not manifest.complete:
        raise ValueError(f"{folder} has no complete manifest.json; run i2e dataset first, or rerun it to resume")
    if manifest.source["kind"] == "recording":
        raise ValueError(f"{folder} contains recordings, which the card cannot describe; upload it with hf upload")
    if manifest.settings["format"] == "npz":
        raise ValueError(f"{folder} has one npz file per image; convert it with --format parquet or tar to upload it")
    for record in manifest.shards:
        if not is_finished(folder, record):
            raise ValueError(f"{folder}: {record.name} is missing or damaged; see i2e dataset verify --repair")
    return manifest


def _make_plan(api: HfApi, repository: str, folder: Path, manifest: Manifest) -> _Plan:
    from huggingface_hub.utils import RepositoryNotFoundError

    from i2e_triton.io.location import SHARD
    from i2e_triton.pipeline.manifest import MANIFEST_NAME

    paths = [path for record in manifest.shards for path in record.paths] + [MANIFEST_NAME]
    try:
        info = api.dataset_info(repository, timeout=_TIMEOUT_S)
        exists, present = True, [file.rfilename for file in info.siblings or ()]
    except RepositoryNotFoundError:
        exists, present = False, []
    old = [path for path in present if path.endswith((".parquet", ".tar")) and SHARD.fullmatch(Path(path).stem)]
    return _Plan(repository, exists, {path: folder / path for path in paths}, sorted(set(old) - set(paths)))


def _print_plan(plan: _Plan, private: bool, license: str, card: str) -> None:
    console = Console()
    action = "update" if plan.exists else f"create the {'private' if private else 'public'} repository"
    print_line(console, f"{action} {plan.repository} (license {license})")
    size = sum(path.stat().st_size for path in plan.files.values())
    print_line(console, f"upload {len(plan.files)} files, {decimal(size)}: {_listed(list(plan.files))}, and README.md:")
    print_line(console, "")
    for line in card.splitlines():
        print_line(console, f"    {line}")
    print_line(console, "")
    if plan.deleted:
        print_line(console, f"delete {len(plan.deleted)} shards of an earlier upload: {_listed(plan.deleted)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _upload(api: HfApi, plan: _Plan, private: bool, card: str) -> str:
    """Create the repository if necessary, and upload all files in one commit. Return the address."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from i2e_triton.pipeline.verify import CARD_NAME

    url = api.create_repo(plan.repository, repo_type="dataset", private=private or None, exist_ok=True)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path, file) for path, file in plan.files.items()),
        CommitOperationAdd(CARD_NAME, card.encode()),
        *(CommitOperationDelete(path) for path in plan.deleted),
    ]
    message = "Upload with i2e push"
    api.create_commit(plan.repository, operations, commit_message=message, repo_type="dataset")
    return str(url)
