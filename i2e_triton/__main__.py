"""Entry point of ``i2e`` and ``python -m i2e_triton``."""

import sys

from i2e_triton.install_hints import MissingExtraError, pip_command

_CLI_PACKAGES = ("PIL", "h5py", "numpy", "rich", "typer")


def main() -> None:
    """Run the command line. If a package is missing, exit with the pip command that installs it."""
    try:
        from i2e_triton.cli.application import app

        app(prog_name="i2e")
    except MissingExtraError as error:
        sys.exit(str(error))
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "i2e_triton":
            raise
        extra = "cli" if package in _CLI_PACKAGES else "data"
        sys.exit(f"i2e needs the package {package}: {pip_command(extra)}")


if __name__ == "__main__":
    main()
