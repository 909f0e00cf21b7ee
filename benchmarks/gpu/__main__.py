"""``python -m benchmarks.gpu``: check and measure this package on an NVIDIA GPU, within a time budget.

The sections run in order of value. Each section writes its rows to benchmarks/results when it ends, so an interrupted
run keeps them. A later run at the same commit continues with the sections that are not done. ``python -m
benchmarks.report`` turns the rows into the report.

This needs PyTorch, Triton and pytest. Sections that need more are skipped, with the reason. With ``--dry``, all
sections run once on the CPU with few and small images, without a GPU; the rows go to a temporary folder.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from benchmarks.gpu.run import SUITE, OutOfTimeError, Run, SkippedError, say
from benchmarks.gpu.sections import SECTIONS, Section
from benchmarks.harness.machine import commit, device_name
from benchmarks.harness.rows import RESULTS

# A kernel that never ends cannot be interrupted. The process then exits this many seconds after the end of the budget.
_GRACE_S = 60


def main() -> int:
    """Run the sections and return the exit status: 1 if a section has failed."""
    options = parse_options()
    if not options.dry and not torch.cuda.is_available():
        sys.exit("no CUDA device: run this on a machine with an NVIDIA GPU, or add --dry for a dry run on the CPU")
    with tempfile.TemporaryDirectory() as folder:
        results = options.results or (Path(folder) if options.dry else RESULTS)
        run = Run("cpu" if options.dry else "cuda", results, options.seconds)
        faulthandler.dump_traceback_later(options.seconds + _GRACE_S, exit=True)
        say(f"{device_name(run.device)}, {options.seconds:.0f} s; rows go to {results}")
        if run.dry:
            say("dry run on the CPU: each case runs once, and its time says nothing about a GPU")
        failed = run_sections(run, options)
        summary(run)
    return 1 if failed else 0


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Check and measure on a GPU.")
    parser.add_argument("--seconds", type=float, default=420, help="time budget (default: 420)")
    parser.add_argument("--dry", action="store_true", help="run every section once on the CPU")
    parser.add_argument("--again", action="store_true", help="repeat sections that were done at this commit")
    parser.add_argument("--results", type=Path, help="folder of the rows (default: benchmarks/results)")
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME", help=", ".join(SECTIONS)
    )
    parser.add_argument("--failed", action="store_true", help=argparse.SUPPRESS)  # an earlier section has failed
    return parser.parse_args()


def run_sections(run: Run, options: argparse.Namespace) -> bool:
    """Run the chosen sections and return whether one has failed."""
    failed = options.failed
    for position, name in enumerate(options.sections, 1):
        if not options.again and is_done(run, name):
            say(f"{name}: done at this commit")
        elif run_section(run, name, SECTIONS[name]) == "failed":
            failed = True
            if not run.dry and options.sections[position:]:
                continue_in_new_process(run, options, options.sections[position:])
    return failed


def run_section(run: Run, name: str, section: Section) -> str:
    """Run a section, write its rows and return its status: done, skipped, out of time or failed."""
    say(f"{name}: {section.title}")
    start = time.monotonic()
    try:
        run.remaining()
        status, text = "done", section.run(run)
    except (SkippedError, ModuleNotFoundError) as error:
        status, text = "skipped", str(error)
    except OutOfTimeError:
        status, text = "out of time", "run the same command again to continue"
    except Exception as error:
        traceback.print_exc()
        status, text = "failed", f"{type(error).__name__}: {error}".partition("\n")[0]
    seconds = time.monotonic() - start
    run.add(SUITE, {"section": name}, {"status": status, "text": text, "images": 0, "median_s": seconds, "rounds": 1})
    run.write()
    say(f"  {status} in {seconds:.1f} s: {text}")
    return status


def is_done(run: Run, name: str) -> bool:
    """Return whether a section was done at the checked-out commit."""
    row = run.written().find(SUITE, section=name)
    return row is not None and row["status"] == "done" and all(row[key] == value for key, value in commit().items())


def continue_in_new_process(run: Run, options: argparse.Namespace, sections: list[str]) -> None:
    """Run the remaining sections in a new process: after an error of a kernel, CUDA refuses all work of the old one."""
    arguments = ["--failed", "--seconds", str(max(0.0, run.left())), "--sections", *sections]
    arguments += ["--again"] if options.again else []
    arguments += ["--results", str(options.results)] if options.results else []
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *arguments])


def summary(run: Run) -> None:
    """Print how each section ended."""
    rows = run.written()
    say("")
    for name, section in SECTIONS.items():
        row = rows.find(SUITE, section=name)
        state = f"{row['status']:11} {row['median_s']:6.1f} s  {row['text']}" if row else "not run"
        say(f"{name:13} {section.title:70} {state}")


if __name__ == "__main__":
    sys.exit(main())
