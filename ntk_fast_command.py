"""The way into the command ntk-fast: outside of the package, so that Ctrl-C is heard while that is imported."""

import sys


def main() -> int:
    """Run the command line, and return its exit code."""
    try:
        from ntk_fast.cli import main as run

        return run()
    except KeyboardInterrupt:  # within the command line itself that hears its own
        print("ntk-fast: interrupted", file=sys.stderr)
        return 130
