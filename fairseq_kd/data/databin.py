"""The former name of :mod:`fairseq_kd.data.databins.databin`, for scripts that import it."""

from fairseq_kd.data.databins.databin import (
    open_databin,
    open_dictionaries,
    read_dictionary,
    source_hashes,
    translation_task,
)

__all__ = ["open_databin", "open_dictionaries", "read_dictionary", "source_hashes", "translation_task"]
