"""Entry point of ``i2e`` and ``python -m i2e_triton``."""

import sys


def main() -> None:
    """Run the command line; exit with the pip command that installs a missing package."""
    try:
        from i2e_triton.cli.application import app
    except ModuleNotFoundError as error:
        sys.exit(f"i2e needs the package {error.name}: pip install 'i2e-triton[cli]'")
    app()


if __name__ == "__main__":
    main()
