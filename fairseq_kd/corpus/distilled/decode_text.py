"""Write a model's translations of a text file, in blocks that several runs can share."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairseq_kd.corpus.distilled.decode import check_sampling, fill
from fairseq_kd.corpus.distilled.decoded_blocks import Decoded
from fairseq_kd.corpus.text_lines import count_lines, file_blocks
from fairseq_kd.decoding.fairseq_text import FairseqText
from fairseq_kd.decoding.interface import Hypothesis, Progress, TooFew
from fairseq_kd.decoding.open_text import open_translator
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.text import TextHypothesis, TextTranslator, check_tokenizer
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import WHOLE, Block, Shard
from fairseq_kd.storage.files import file_hash

SUBSET = "text"
"""Stands for the split's name in the names of files."""

Translate = Callable[[list[str], int, Progress], list[list[TextHypothesis]]]


def decode_text(
    model: str,
    text: Path,
    output: Path,
    options: DecodingOptions,
    *,
    sampling: Sampling | None = None,
    seed: int = 1,
    shard: Shard = WHOLE,
    engine: str = "auto",
    **model_options: Any,
) -> dict[str, Any] | None:
    """Translate a text file; with one shard, merge the blocks to ``text.SOURCE``, ``text.TARGET`` and a signature.

    ``text.SOURCE`` has the lines as they were, ``text.TARGET`` a line of text for each. Blocks, shards and killed runs
    are those of :func:`fairseq_kd.corpus.distilled.decode.decode`. Memory does not grow with the number of lines.

    Args:
        model: as for :func:`fairseq_kd.decoding.open_text.open_translator`.
        text: UTF-8, perhaps compressed: ``.gz``, ``.xz`` or, with the package zstandard, ``.zst``.
        output: the folder that gets the text.
        options: how to search, and how many translations of each line to keep.
        sampling: draw translations in this way, instead of searching; its length limits replace those of ``options``.
        seed: of what is drawn.
        shard: this run's share of the work.
        engine: one of :data:`fairseq_kd.decoding.options.ENGINES`.
        model_options: of :func:`~fairseq_kd.decoding.open_text.open_translator`: data, languages, source_spm,
            target_spm, precision, profile.

    Returns:
        As :func:`fairseq_kd.corpus.distilled.decode.decode`.

    Raises:
        UserError: a value is out of range, the model or the text cannot be used, the text's symbols are unknown to the
            model, or ``output`` holds a decode with other settings or cannot be written.
    """
    check_sampling(sampling, options, engine, seed)
    translator = open_translator(model, engine=engine, search=options, sampling=bool(sampling), **model_options)
    rows = count_lines(text)
    if not rows:
        raise UserError(f"{text}: the file is empty; give text, a sentence on each line")
    drawing = {**asdict(sampling), "seed": seed} if sampling else None
    made_by = {"options": options.record(), "sampling": drawing}
    settings = {"input": file_hash(text), "subset": SUBSET, "rows": rows, **translator.settings, **made_by}
    settings["block_rows"] = shard.block_rows

    def translate(lines: list[str], first: int, progress: Progress) -> list[list[TextHypothesis]]:
        if sampling and isinstance(translator, FairseqText):
            return translator.draw(lines, first, options, sampling, seed, progress)
        return translator.translate(lines, options, progress)

    def decode_blocks(blocks: list[Block], progress: Progress) -> Iterator[Decoded]:
        return _decode_blocks(blocks, text, shard.block_rows, translator, translate, progress)

    return fill(output, settings, shard, decode_blocks)


def _decode_blocks(
    blocks: list[Block],
    text: Path,
    block_rows: int,
    translator: TextTranslator,
    translate: Translate,
    progress: Progress,
) -> Iterator[Decoded]:
    """Translate ``blocks``, which are in the order of the file; the file is read once, as far as they need it.

    The file's first block tells whether the tokenizer is the model's, whatever block comes first here: a run that was
    killed goes on, and all shards say the same.
    """
    wanted = iter(blocks)
    block = next(wanted)
    for number, lines in enumerate(file_blocks(text, block_rows)):
        if not number:
            check_tokenizer(translator, lines)
        if number != block.number:
            continue
        try:
            nbest_lists = translate(lines, block.rows.start, progress)
        except TooFew as error:
            raise error.of(f"line {block.rows.start + error.sentence + 1} of {text}") from None
        yield block, lines, [[Hypothesis(h.text, h.score) for h in nbest] for nbest in nbest_lists]
        following = next(wanted, None)
        if following is None:
            return
        block = following
