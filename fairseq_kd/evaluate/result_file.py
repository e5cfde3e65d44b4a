"""The place of a result file, checked before the work that fills it."""

from pathlib import Path

from fairseq_kd.errors import UserError


def make_place(output: str | Path | None, option: str = "--output") -> None:
    """Make the folder in which the file ``output`` is to lie; do nothing for None.

    Args:
        output: the file.
        option: the name that messages give it.

    Raises:
        UserError: ``output`` is a folder.
        OSError: its folder cannot be made.
    """
    if output is None:
        return
    if Path(output).is_dir():
        raise UserError(f"{option} {output}: is a folder; give a file name")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
