"""Where converted models are kept, so that each is made once."""

import atexit
import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import whole_folder

logger = logging.getLogger(__name__)


def kept(name: Any, path: str, write: Callable[[Path], None]) -> Path:
    """The kept folder that ``write`` made; where there is none yet, it is made now.

    Without $FAIRSEQ_KD_CACHE, and where the home folder cannot be written, the folder is a temporary one. It is deleted
    when the process ends.

    Args:
        name: all that the conversion depends on, as plain data.
        path: the model, for the log.
        write: converts the model into the empty folder that it is given.

    Raises:
        UserError: the folder cannot be written.
    """
    key = hashlib.sha256(json.dumps(name, sort_keys=True).encode()).hexdigest()[:32]
    named = os.environ.get("FAIRSEQ_KD_CACHE")
    cache = named or os.path.expanduser("~/.cache/fairseq_kd")
    try:
        if cache.startswith("~"):  # neither $HOME nor an entry for this user
            raise FileNotFoundError(errno.ENOENT, "this user has no home folder", cache)
        return _made_once(Path(cache, "ctranslate2", key), path, write)
    except OSError as error:
        if named:
            raise UserError(f"{cache}: cannot be written ({error.strerror}); set FAIRSEQ_KD_CACHE") from None
        logger.warning(
            "%s: cannot be written (%s); the converted model is deleted when this command ends; set FAIRSEQ_KD_CACHE "
            "to keep it", cache, error.strerror,
        )  # fmt: skip
    try:
        return _made_once(_temporary_folder() / key, path, write)
    except OSError as error:
        raise UserError(
            f"neither {cache} nor $TMPDIR can be written ({error.strerror}); set FAIRSEQ_KD_CACHE to a folder with room"
        ) from None


def _made_once(folder: Path, path: str, write: Callable[[Path], None]) -> Path:
    if not folder.is_dir():
        logger.info("%s: converting it for ctranslate2, kept in %s", path, folder)
        with whole_folder(folder) as new:
            write(new)
    return folder


@functools.cache
def _temporary_folder() -> Path:
    """One for this process, deleted at its end."""
    folder = tempfile.mkdtemp(prefix="fairseq_kd-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
