"""`fairseq-kd last-checkpoint`: where a training goes on."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", metavar="DIR", help="fairseq-train's --save-dir")


def run(options: argparse.Namespace) -> None:
    """Print the newest sound checkpoint's path, or nothing where there is none; mend a best one that was cut short."""
    from fairseq_kd.networks.resume import newest_sound_checkpoint, repair_copies

    path = newest_sound_checkpoint(options.folder)
    if path is not None:
        repair_copies(options.folder, path)
        print(path)
