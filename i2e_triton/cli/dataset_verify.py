"""``i2e dataset verify``: check a data set of events, and convert its damaged shards again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from i2e_triton.cli.dataset import CPUS, Workers, open_sources, shard_engine
from i2e_triton.cli.terminal import exit_on_errors, new_progress, print_line
from i2e_triton.pipeline.plan import ConversionConfig


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of `i2e dataset`.")],
    repair: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Convert the damaged shards again from this source, the same as before."),
    ] = None,
    workers: Workers = CPUS,
) -> None:
    """Check the files of a data set of events against the checksums in its manifest.

    The problems are listed, and the exit status is 1 if there are any. With `--repair SOURCE`, the damaged shards are
    first converted again.
    """
    from i2e_triton.pipeline.verify import verify_dataset

    errors = Console(stderr=True)
    with exit_on_errors(errors):
        if repair is not None:
            _repair(out, repair, workers, errors)
        with new_progress(errors) as progress:
            task = progress.add_task("verifying", total=None)
            verified = verify_dataset(out, lambda done, shards: progress.update(task, completed=done, total=shards))
    for problem in verified.problems:
        print_line(errors, problem)
    result = f"{len(verified.problems)} problems" if verified.problems else "no problems"
    print_line(Console(), f"{out}: {verified.shards} shards, {verified.rows:,} rows: {result}")
    if verified.problems:
        raise typer.Exit(1)


def _repair(out: Path, location: str, workers: int, errors: Console) -> None:
    """Convert the damaged shards of a complete data set again."""
    from i2e_triton.cli.dataset_report import DatasetProgress
    from i2e_triton.pipeline.dataset import convert_dataset
    from i2e_triton.pipeline.manifest import ManifestError, read_manifest
    from i2e_triton.pipeline.verify import damaged_shards

    manifest = read_manifest(out)
    if manifest is None or not manifest.complete:
        raise ManifestError(f"{out} has no complete manifest.json; rerun the command that converts it to resume")
    damaged = [record.name for record in damaged_shards(out, manifest)]
    if not damaged:
        return
    kind = manifest.source["kind"]
    found = {source.fingerprint(): source for source in open_sources(location, kind).values()}
    fingerprints = manifest.source["fingerprints"]
    if missing := [split for split, fingerprint in fingerprints.items() if fingerprint not in found]:
        raise ManifestError(f"the split {missing[0]!r} of {out} was not converted from {location}, or it has changed")
    sources = {split: found[fingerprint] for split, fingerprint in fingerprints.items()}
    config = ConversionConfig.from_json(manifest.settings)
    with DatasetProgress(errors) as progress:
        convert_dataset(sources, kind, out, config, shard_engine("local", workers), progress, damaged)
    print_line(errors, f"repaired: {', '.join(damaged)}")
