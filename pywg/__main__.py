"""Entry point of `pywg` and `python -m pywg`."""

import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    try:
        from pywg.cli.main import main as run_command_line

        return run_command_line(sys.argv[1:], sys.argv[0])
    except KeyboardInterrupt:  # while modules are loaded
        return 130


if __name__ == "__main__":
    sys.exit(main())
