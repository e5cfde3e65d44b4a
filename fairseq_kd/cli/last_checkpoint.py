"""`fairseq-kd last-checkpoint`: where a training goes on."""

import argparse
from pathlib import Path

from fairseq_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", metavar="DIR", help="fairseq-train's --save-dir")
    parser.add_argument("--finish", action="store_true",
        help="first finish the saving that a kill cut short: copies of the newest state, the deletion of older ones, "
        "and the epoch's line of DIR/train.log; only where no training is at work in DIR")  # fmt: skip
    parser.add_argument("--max-update", type=int, default=0, metavar="N",
        help="the training's number of updates (%(default)s: no limit); a second line, `ended`, says that the "
        "checkpoint has all of them")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Print the newest sound checkpoint's path, or nothing where there is none.

    Raises:
        UserError: there is no such folder.
    """
    from fairseq_kd.networks.resume import epoch_line, finish_saving, newest_sound_checkpoint, reached_max_update

    if not Path(options.folder).is_dir():
        raise UserError(f"{options.folder}: no such folder; give the --save-dir of a training")
    path = newest_sound_checkpoint(options.folder)
    if path is None:
        return
    ended = reached_max_update(path, options.max_update)
    if options.finish:
        finish_saving(options.folder, path)
        log, line = Path(options.folder, "train.log"), epoch_line(path, ended)
        if line and log.is_file():
            with open(log, "a", encoding="utf-8") as handle:
                handle.write(f"\n{line}\n")  # the kill may have cut the line before
    print(path)
    if ended:
        print("ended")
