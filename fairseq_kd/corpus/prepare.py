"""From raw parallel text to the subword text and the dictionary that fairseq-preprocess takes.

A training row with an empty side is dropped from both sides and counted. Rows of valid and test are never dropped, so
that they stay aligned with the raw text.
"""

import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
from tqdm import tqdm

from fairseq_kd.corpus.parallel_text import LONGEST_LINE, SPLITS, read_pair, write_lines
from fairseq_kd.data.pieces import load_spm
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import versions

logger = logging.getLogger(__name__)
FAIRSEQ_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
"""What every dictionary of fairseq begins with, outside of its file."""


@dataclass
class _Measured:
    """Lines on their way to sentencepiece, and how many of them it passes over."""

    lines: Iterable[str]
    most: int
    read: int = 0
    passed_over: int = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.read += 1
            self.passed_over += len(line) * 4 > self.most and len(line.encode()) > self.most
            yield line


def train_spm(lines: Iterable[str], vocab_size: int, longest_line: int = LONGEST_LINE) -> bytes:
    """A sentencepiece unigram model, the same for the same lines.

    Lines of more bytes than ``longest_line`` are passed over; the log counts them.

    Raises:
        UserError: sentencepiece refuses, for example because the vocabulary is too large or too small for the text.
    """
    if longest_line < 1:
        raise UserError(f"--max-line-bytes {longest_line}: give 1 or more")
    model, measured = io.BytesIO(), _Measured(lines, longest_line)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(measured),
            model_writer=model,
            vocab_size=vocab_size,
            max_sentence_length=longest_line,
            model_type="unigram",
            character_coverage=1.0,
            # The model depends on how the text is cut over threads, so the number is the same on every machine.
            num_threads=4,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        # Cut off the place in sentencepiece's code before the reason and the advice on its options after it.
        reason = str(error).rpartition("] ")[2].partition(" Increase ")[0]
        raise UserError(f"--vocab-size {vocab_size}: sentencepiece says: {reason}") from None
    if measured.passed_over:
        logger.warning(
            "%d of %d lines are longer than %d bytes: sentencepiece learned nothing from them, and characters that "
            "only they have become <unk>; cut the lines, or give a larger --max-line-bytes",
            measured.passed_over, measured.read, longest_line,
        )  # fmt: skip
    return model.getvalue()


def dictionary_lines(model: sentencepiece.SentencePieceProcessor) -> list[str]:
    """fairseq's dictionary of a sentencepiece model, "symbol count" lines.

    fairseq adds its special symbols by itself. A piece of the same name is text; ``#fairseq:overwrite`` gives it a
    place of its own. Every count is 1, so that the dictionary depends on the model alone.
    """
    ordinary = (i for i in range(model.get_piece_size()) if not (model.is_control(i) or model.is_unknown(i)))
    pieces = [model.id_to_piece(i) for i in ordinary]
    return [f"{piece} 1{' #fairseq:overwrite' if piece in FAIRSEQ_SYMBOLS else ''}" for piece in pieces]


def encode_pair(
    model: sentencepiece.SentencePieceProcessor, pair: tuple[list[str], list[str]], drop_empty: bool, name: str
) -> tuple[tuple[list[str], list[str]], dict[str, int | list[int]]]:
    """Cut both sides of a split into subwords.

    Args:
        model: cuts the text; tokens are its pieces, without ``</s>``.
        pair: both sides, as :func:`fairseq_kd.corpus.parallel_text.read_pair` reads them.
        drop_empty: whether to leave out rows with an empty side.
        name: of the split, for the progress bar.

    Returns:
        The lines of both sides, and the counts "rows", "dropped", "tokens", "longest" and "unknown" (subwords that the
        model does not have); the last three are lists of a number for the source and one for the target.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    lengths: tuple[list[int], list[int]] = ([], [])
    known = {model.id_to_piece(i) for i in range(model.get_piece_size())}
    dropped, unknown = 0, [0, 0]
    for texts in tqdm(list(zip(*pair, strict=True)), desc=f"subwords of {name}", disable=None, unit="row"):
        pieces = [model.encode(text, out_type=str) for text in texts]
        if drop_empty and not all(pieces):
            dropped += 1
            continue
        for number, (side, length, cut) in enumerate(zip(sides, lengths, pieces, strict=True)):
            side.append(" ".join(cut))
            length.append(len(cut))
            unknown[number] += len(cut) - sum(piece in known for piece in cut)
    tokens, longest = [sum(length) for length in lengths], [max(length, default=0) for length in lengths]
    if any(unknown):
        logger.warning(
            "%s: %s subwords of the source and %s of the target are unknown to the model and become <unk>",
            name,
            *unknown,
        )
    counts: dict[str, int | list[int]] = {
        "rows": len(sides[0]),
        "dropped": dropped,
        "tokens": tokens,
        "longest": longest,
        "unknown": unknown,
    }
    return sides, counts


def prepare(
    text: Mapping[str, str | Path],
    languages: tuple[str, str],
    output: Path,
    *,
    vocab_size: int | None = None,
    spm_model: Path | None = None,
    longest_line: int = LONGEST_LINE,
) -> dict[str, Any]:
    """Write ``spm.model``, ``dict.txt``, ``subword/`` and, last, ``prepare.json``, once all text is checked.

    Args:
        text: the prefix of each split, by the split's name: "train", "valid" and "test".
        languages: of source and target, the endings of the files.
        output: the folder that gets the files.
        vocab_size: train a joint model of this many pieces on the training text.
        spm_model: use this sentencepiece model instead; give one of the two.
        longest_line: the model learns from no line of more bytes.

    Returns:
        The report in ``prepare.json``: "languages", "spm_model_sha256", "vocabulary" (pieces), "splits" (what
        :func:`encode_pair` counts) and "versions".

    Raises:
        UserError: text is missing, damaged, empty or not parallel, the vocabulary size does not fit it, or the model
            is not a sentencepiece model.
    """
    if languages[0] == languages[1]:
        raise UserError(f"--source-lang and --target-lang are both {languages[0]}")
    pairs = {split: read_pair(text[split], languages) for split in SPLITS}
    serialised = _serialised_model(pairs["train"], vocab_size, spm_model, longest_line)
    with whole_file(output / "spm.model", "wb") as handle:
        handle.write(serialised)
    model = load_spm(output / "spm.model")
    write_lines(output / "dict.txt", dictionary_lines(model))
    counts = {}
    for split, pair in pairs.items():
        sides, counts[split] = encode_pair(model, pair, drop_empty=split == "train", name=split)
        if not sides[0]:
            raise UserError(f"{text[split]}: every row has an empty side, nothing is left")
        for language, side in zip(languages, sides, strict=True):
            write_lines(output / "subword" / f"{split}.{language}", side)
    report = {
        "languages": languages,
        "spm_model_sha256": file_hash(output / "spm.model"),
        "vocabulary": model.get_piece_size(),
        "splits": counts,
        "versions": versions(),
    }
    write_json(output / "prepare.json", report)
    return report


def _serialised_model(
    pair: tuple[list[str], list[str]], vocab_size: int | None, path: Path | None, longest_line: int
) -> bytes:
    if path is not None and vocab_size is None:
        load_spm(path)
        return path.read_bytes()
    if vocab_size is not None and path is None:
        return train_spm([*pair[0], *pair[1]], vocab_size, longest_line)
    raise UserError("give either --vocab-size or --spm-model")
