"""From raw parallel text to the subword text and the dictionary that fairseq-preprocess takes.

Empty lines: a training row with an empty side is dropped from both sides and counted; rows of valid and test are never
dropped, so that they stay aligned with the raw text.
"""

import argparse
import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
from tqdm import tqdm

from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, whole_file, write_json
from fairseq_kd.storage.provenance import versions

SPLITS = ("train", "valid", "test")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, each with its white space reduced to single spaces.

    Only a newline ends a line; carriage returns and Unicode's other separators count as white space, because
    fairseq would cut rows or subwords there.

    Raises:
        UserError: the file is missing, unreadable or not UTF-8 (told with the line's number, from 1).
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (a prefix and a language make the name PREFIX.LANG)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    lines = raw.removesuffix(b"\n").split(b"\n") if raw else []
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.append(" ".join(line.decode("utf-8").split()))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: line {number}: not UTF-8 (byte {error.start + 1}); convert the file") from None
    return texts


def read_pair(prefix: str, languages: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Both sides of a split, as :func:`read_lines` reads them.

    Raises:
        UserError: as :func:`read_lines`; the sides differ in their number of lines, or have none.
    """
    paths = [Path(f"{prefix}.{language}") for language in languages]
    source, target = (read_lines(path) for path in paths)
    if len(source) != len(target):
        raise UserError(f"{paths[0]} has {len(source)} lines but {paths[1]} has {len(target)}: they must be parallel")
    if not source:
        raise UserError(f"{paths[0]}: the file is empty")
    return source, target


def train_spm(lines: Iterable[str], vocab_size: int) -> bytes:
    """A sentencepiece unigram model, the same for the same lines.

    Raises:
        UserError: sentencepiece refuses, as it does when the vocabulary is too big or too small for the text.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="unigram",
            character_coverage=1.0,
            # The result depends on how the text is cut over threads: a fixed number, whatever the machine.
            num_threads=4,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        # Without the place in sentencepiece's code before it and the advice on sentencepiece's own options after it.
        reason = str(error).rpartition("] ")[2].partition(" Increase ")[0]
        raise UserError(f"--vocab-size {vocab_size}: sentencepiece says: {reason}") from None
    return model.getvalue()


def load_spm(path: Path) -> sentencepiece.SentencePieceProcessor:
    """A sentencepiece model read from a file.

    Raises:
        UserError: the file is missing or no sentencepiece model.
    """
    if not path.is_file():
        raise UserError(f"--spm-model {path}: no such file")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError):
        raise UserError(f"--spm-model {path}: not a sentencepiece model") from None


def dictionary_lines(model: sentencepiece.SentencePieceProcessor) -> list[str]:
    """fairseq's dictionary of a sentencepiece model, "symbol count" lines.

    fairseq adds its own special symbols. Every count is 1: the dictionary follows from the model alone.
    """
    ordinary = (i for i in range(model.get_piece_size()) if not (model.is_control(i) or model.is_unknown(i)))
    return [f"{model.id_to_piece(i)} 1" for i in ordinary]


def encode_pair(
    model: sentencepiece.SentencePieceProcessor, pair: tuple[list[str], list[str]], drop_empty: bool, name: str
) -> tuple[tuple[list[str], list[str]], dict[str, int | list[int]]]:
    """Subword text of both sides and its counts: rows, dropped, tokens and longest (each ``[source, target]``).

    Args:
        model: cuts the text; tokens are its pieces, without ``</s>``.
        pair: both sides, as :func:`read_pair` reads them.
        drop_empty: whether a row with an empty side is left out.
        name: of the split, for the progress bar.
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


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """One line each, whole or not at all."""
    with whole_file(path) as handle:
        handle.writelines(f"{line}\n" for line in lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-kd prepare``."""
    add = parser.add_argument
    add("--source-lang", required=True, metavar="S", help="source language, the source files' ending")
    add("--target-lang", required=True, metavar="T", help="target language, the target files' ending")
    for split in SPLITS:
        add(f"--{split}", required=True, metavar="PREFIX", help=f"raw text of {split}: PREFIX.S and PREFIX.T")
    vocabulary = parser.add_mutually_exclusive_group(required=True)
    vocabulary.add_argument("--vocab-size", type=int, metavar="N", help="train a joint model of this many pieces")
    vocabulary.add_argument("--spm-model", metavar="FILE", help="use this sentencepiece model, train none")
    add("--output", required=True, metavar="DIR", help="writes spm.model, dict.txt, subword/ and prepare.json here")


def run(options: argparse.Namespace) -> None:
    """Check all text first, then write; ``prepare.json`` comes last."""
    languages = (options.source_lang, options.target_lang)
    if options.source_lang == options.target_lang:
        raise UserError(f"--source-lang and --target-lang are both {options.source_lang}")
    pairs = {split: read_pair(getattr(options, split), languages) for split in SPLITS}
    output = Path(options.output)
    if options.spm_model:
        load_spm(Path(options.spm_model))
        serialised = Path(options.spm_model).read_bytes()
    else:
        source, target = pairs["train"]
        serialised = train_spm([*source, *target], options.vocab_size)
    with whole_file(output / "spm.model", "wb") as handle:
        handle.write(serialised)
    model = load_spm(output / "spm.model")
    write_lines(output / "dict.txt", dictionary_lines(model))
    counts = {}
    for split, pair in pairs.items():
        sides, counts[split] = encode_pair(model, pair, drop_empty=split == "train", name=split)
        if not sides[0]:
            raise UserError(f"{getattr(options, split)}: every row has an empty side, nothing is left")
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
    dropped = counts["train"]["dropped"]
    print(f"{counts['train']['rows']} training rows, {dropped} dropped for an empty side; subwords are in {output}")
