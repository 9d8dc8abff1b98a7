"""Entry point of `pywg` and `python -m pywg`."""

import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    from pywg.cli.main import main as run_command_line

    return run_command_line(sys.argv[1:], sys.argv[0])


if __name__ == "__main__":
    sys.exit(main())
