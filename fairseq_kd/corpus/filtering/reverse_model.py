"""Cross-entropy of sources given their targets, under a model that translates the other way.

A target that lost or added something does not lead back to its source. Junczys-Dowmunt 2018 (arXiv 1809.00197) scores
pairs so, with both directions; Firefox's training pipeline (mozilla/translations) drops the worst rows of a distilled
corpus by the reverse direction alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from fairseq import utils
from fairseq.data import LanguagePairDataset

from fairseq_kd.corpus.coverage import Coverage
from fairseq_kd.corpus.filtering.rules import MAX_TOKENS
from fairseq_kd.data.databins.own_dictionaries import own_task, recorded_languages_of
from fairseq_kd.decoding.interface import batches
from fairseq_kd.errors import UserError
from fairseq_kd.losses.token_values import token_nll
from fairseq_kd.networks.checkpoints import build_models, read_checkpoint
from fairseq_kd.networks.distributions import next_tokens, real_tokens
from fairseq_kd.storage.files import file_hash


class ReverseModel:
    """Gives the cross-entropy of rows.

    Args:
        path: the checkpoint of a model from the target language to the source language.
        pair: source and target language of the corpus.
        data: folder with its dictionaries; None looks beside the checkpoint, then in its recorded data-bin.
        max_tokens: tokens of a batch, padding counted.

    Raises:
        UserError: the checkpoint is bad, translates in the corpus's direction, or its dictionaries are not found.
    """

    def __init__(self, path: str | Path, pair: tuple[str, str], data: Path | None = None, max_tokens: int = MAX_TOKENS):
        self.path, self.max_tokens = path, max_tokens
        state = read_checkpoint(path, "reverse model")
        if recorded_languages_of(state) == pair and pair[0] != pair[1]:
            raise UserError(
                f"reverse model {path}: translates {'-'.join(pair)}, as the corpus; give one of {pair[1]}-{pair[0]}"
            )
        task = own_task(str(path), state, data, (pair[1], pair[0]), role="reverse model", option="--reverse-data")
        self.dictionaries = [task.target_dictionary, task.source_dictionary]  # of the corpus's source and target
        (self.model,) = build_models([path], task, "reverse model", [state])
        if torch.cuda.is_available():
            self.model.cuda()
        self.most = self.model.max_positions()
        self.coverages = [Coverage(one.indices.__contains__) for one in self.dictionaries]
        self.sha256 = [file_hash(path), *(file_hash(Path(task.cfg.data, f"dict.{language}.txt")) for language in pair)]

    @torch.no_grad()
    def cross_entropies(self, rows: Sequence[tuple[list[str], list[str]]]) -> np.ndarray:
        """−log p(source | target) / tokens of each row, in nats, ``</s>`` counted; NaN for a row that is too long.

        Args:
            rows: the tokens of source and target, in the model's subwords, neither empty.

        Returns:
            Shape (rows,), float32.

        Raises:
            UserError: more than 5 % of the tokens are not in the model's dictionaries.
        """
        found = np.full(len(rows), np.nan, np.float32)
        encoded = [[self._encode(side, tokens) for side, tokens in enumerate(row)] for row in rows]
        advice = "give --reverse-spm-model, or a reverse model with the subwords of this text"
        for coverage, language in zip(self.coverages, ("source", "target"), strict=True):
            coverage.check(f"{language} side", f"the dictionary of the reverse model {self.path}", advice)
        # The model reads the targets and writes the sources.
        read, written = [one[1] for one in encoded], [one[0] for one in encoded]
        sizes = [np.array([len(ids) for ids in side]) for side in (read, written)]
        pairs = LanguagePairDataset(
            read, sizes[0], self.dictionaries[1], written, sizes[1], self.dictionaries[0], shuffle=False
        )
        lengths = {
            row: int(max(sizes[0][row], sizes[1][row]))
            for row in range(len(rows))
            if sizes[0][row] <= self.most[0] and sizes[1][row] <= self.most[1]
        }
        for batch in batches(lengths, self.max_tokens):
            sample = pairs.collater([pairs[row] for row in batch])
            sample = utils.move_to_cuda(sample) if torch.cuda.is_available() else sample
            real = real_tokens(sample["target"], self.dictionaries[0].pad())
            nll = token_nll(next_tokens(self.model, sample, real), sample["target"][real])
            sums = nll.double().split(real.sum(dim=1).tolist())  # real tokens lie row after row
            for row, values in zip(sample["id"].tolist(), sums, strict=True):
                found[row] = float(values.mean())
        return found

    def _encode(self, side: int, tokens: list[str]) -> torch.Tensor:
        dictionary = self.dictionaries[side]
        self.coverages[side].add(tokens)
        return torch.tensor([*(dictionary.index(token) for token in tokens), dictionary.eos()])
