"""The command as `python -m leakatk`."""

import sys

from leakatk.cli.crash import ended


def main() -> None:
    """Run the command line. What keeps it from even starting is no verdict either."""
    try:
        from leakatk.cli.main import main as run
    except BaseException as error:
        sys.exit(ended(error))
    run()


if __name__ == "__main__":
    main()
