"""Where the plugin lies, for ``fairseq-train --user-dir "$(fairseq-kd user-dir)"`` from any folder."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes no options."""


def run(options: argparse.Namespace) -> None:
    """Print the package's folder."""
    print(Path(__file__).parents[1])
