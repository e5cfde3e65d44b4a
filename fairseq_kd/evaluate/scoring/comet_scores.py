"""COMET (Rei et al. 2020), a learned metric, where the package unbabel-comet is installed."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.sentences import Sentences
from fairseq_kd.storage.files import file_hash

BATCH = 16
"""Sentences in a batch."""


@dataclass(frozen=True)
class Comet:
    """A model of COMET that is on this machine.

    Attributes:
        name: as it was given.
        checkpoint: its file.
    """

    name: str
    checkpoint: str

    @property
    def signature(self) -> dict[str, str]:
        """The "model", the "sha256" of its checkpoint and the "version" of unbabel-comet."""
        try:
            installed = version("unbabel-comet")
        except PackageNotFoundError:  # a source tree on the path
            installed = "unknown"
        return {"model": self.name, "sha256": file_hash(self.checkpoint), "version": installed}

    def score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
    ) -> tuple[float, list[float]]:
        """COMET's score of a system and of each sentence, on the model's own scale.

        Args:
            sources: detokenised lines.
            hypotheses: a line for each.
            references: a line for each; a model without references ignores them.
        """
        from comet import load_from_checkpoint

        rows = zip(sources, hypotheses, references, strict=True)
        samples = [{"src": source, "mt": line, "ref": reference} for source, line, reference in rows]
        model: Any = load_from_checkpoint(self.checkpoint)
        found = model.predict(samples, batch_size=BATCH, gpus=int(torch.cuda.is_available()))
        return float(found.system_score), [float(score) for score in found.scores]


def one_of_several(sentences: Sentences) -> dict[str, str]:
    """What a result says of the references, which COMET takes one of: "reference"; nothing where there is only one."""
    several = len(sentences.more_references)
    return {"reference": f"the first of {1 + several}"} if several else {}


def find_comet(model: str) -> Comet:
    """The model of COMET, downloaded if it is a name; this comes before hours of decoding, loading it after these.

    Args:
        model: a checkpoint, or a model's name on the Hugging Face Hub.

    Raises:
        UserError: unbabel-comet is not installed or cannot be imported, or the model cannot be found.
    """
    try:
        from comet import download_model
    except ModuleNotFoundError as error:
        if error.name != "comet":
            raise UserError(f"--comet: unbabel-comet lacks the package {error.name}; install it again") from None
        raise UserError(
            "--comet: needs the package unbabel-comet, which is not installed; run pip install unbabel-comet, or "
            "score the file of --save-outputs on another machine"
        ) from None
    if Path(model).is_file():
        return Comet(model, model)
    try:
        return Comet(model, download_model(model))
    except Exception as error:
        raise UserError(
            f"--comet {model}: no such file, and no model that COMET can download ({error}); give a checkpoint or a "
            "name such as Unbabel/wmt22-comet-da"
        ) from None
