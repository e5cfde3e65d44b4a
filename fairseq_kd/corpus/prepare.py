"""From raw parallel text to the subword text and the dictionary that fairseq-preprocess takes.

A training row with an empty side is dropped from both sides and counted. Rows of valid and test are never dropped, so
that they stay aligned with the raw text.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sentencepiece
from tqdm import tqdm

from fairseq_kd.corpus.parallel_text import SPLITS, read_pair, write_lines
from fairseq_kd.data.pieces import load_spm
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import versions

FAIRSEQ_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
"""What every dictionary of fairseq begins with, outside of its file."""


def train_spm(lines: Iterable[str], vocab_size: int) -> bytes:
    """A sentencepiece unigram model, the same for the same lines.

    Raises:
        UserError: sentencepiece refuses, for example because the vocabulary is too large or too small for the text.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=vocab_size,
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
        The lines of both sides, and the counts "rows", "dropped", "tokens" and "longest"; the last two are lists of a
        number for the source and one for the target.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    lengths: tuple[list[int], list[int]] = ([], [])
    dropped = 0
    for texts in tqdm(list(zip(*pair, strict=True)), desc=f"subwords of {name}", disable=None, unit="row"):
        pieces = [model.encode(text, out_type=str) for text in texts]
        if drop_empty and not all(pieces):
            dropped += 1
            continue
        for side, length, cut in zip(sides, lengths, pieces, strict=True):
            side.append(" ".join(cut))
            length.append(len(cut))
    tokens, longest = [sum(length) for length in lengths], [max(length, default=0) for length in lengths]
    return sides, {"rows": len(sides[0]), "dropped": dropped, "tokens": tokens, "longest": longest}


def prepare(
    text: Mapping[str, str | Path],
    languages: tuple[str, str],
    output: Path,
    *,
    vocab_size: int | None = None,
    spm_model: Path | None = None,
) -> dict[str, Any]:
    """Write ``spm.model``, ``dict.txt``, ``subword/`` and, last, ``prepare.json``, once all text is checked.

    Args:
        text: the prefix of each split, by the split's name: "train", "valid" and "test".
        languages: of source and target, the endings of the files.
        output: the folder that gets the files.
        vocab_size: train a joint model of this many pieces on the training text.
        spm_model: use this sentencepiece model instead; give one of the two.

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
    serialised = _serialised_model(pairs["train"], vocab_size, spm_model)
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


def _serialised_model(pair: tuple[list[str], list[str]], vocab_size: int | None, path: Path | None) -> bytes:
    if path is not None and vocab_size is None:
        load_spm(path)
        return path.read_bytes()
    if vocab_size is not None and path is None:
        return train_spm([*pair[0], *pair[1]], vocab_size)
    raise UserError("give either --vocab-size or --spm-model")
