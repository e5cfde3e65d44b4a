"""Text in subwords becomes fairseq's data-bin, with dictionaries that exist: the bytes of fairseq-preprocess.

fairseq-preprocess keeps numbers of every row in memory. Here memory does not grow with the text.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from fairseq.data import Dictionary
from fairseq.tokenizer import tokenize_line

from fairseq_kd.corpus.coverage import Coverage
from fairseq_kd.corpus.text_lines import file_blocks
from fairseq_kd.data.databins.databin import read_dictionary
from fairseq_kd.data.databins.row_files import open_row_files
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import one_line_errors

BLOCK_ROWS = 1000


def binarise(text: Path, dictionary: Dictionary, prefix: Path, coverage: Coverage) -> int:
    """Write ``PREFIX.bin`` and ``PREFIX.idx``.

    Args:
        text: a row of subwords in each line.
        dictionary: gives each subword its number; a subword that it lacks becomes ``<unk>``.
        prefix: of both files, ``DIR/train.en-de.en`` for instance.
        coverage: counts the subwords.

    Returns:
        The number of rows.

    Raises:
        UserError: the text is missing, damaged or not UTF-8.
    """
    numbers, unknown, end = dictionary.indices, dictionary.unk(), dictionary.eos()
    split = splitter(dictionary)
    with open_row_files(prefix, len(dictionary)) as files:
        for lines in file_blocks(text, BLOCK_ROWS):
            rows = [split(line) for line in lines]
            for row in rows:
                coverage.add(row)
            symbols = [number for row in rows for number in (*(numbers.get(one, unknown) for one in row), end)]
            files.add(np.array([len(row) + 1 for row in rows], np.int32), np.array(symbols, np.int64))
        return files.rows


def splitter(dictionary: Dictionary) -> Callable[[str], list[str]]:
    """How a row becomes symbols: as fairseq-preprocess cuts it, at all white space.

    The dictionary may have symbols that hold white space: a no-break space, an ideographic space, a phrase. A row is
    then cut at spaces alone, and at each place the longest symbol counts. fairseq-preprocess would lose these symbols.
    """
    wide = [symbol for symbol in dictionary.symbols if tokenize_line(symbol) != [symbol]]
    if not wide:
        return tokenize_line
    most = 1 + max(symbol.count(" ") for symbol in wide)
    known = dictionary.indices

    def split(line: str) -> list[str]:
        words, found, place = [word for word in line.split(" ") if word], list[str](), 0
        while place < len(words):
            choices = (" ".join(words[place : place + size]) for size in range(most, 1, -1))
            symbol = next((choice for choice in choices if choice in known), words[place])
            found.append(symbol)
            place += 1 + symbol.count(" ")
        return found

    return split


def binarise_pair(prefixes: Mapping[str, Path], pair: tuple[str, str], dictionaries: Path, folder: Path) -> None:
    """Write the splits of a data-bin, and its dictionaries, to a folder that exists.

    Args:
        prefixes: of the text of each split, ``PREFIX.SOURCE`` and ``PREFIX.TARGET``, by the split's name.
        pair: source and target language.
        dictionaries: the folder of ``dict.SOURCE.txt`` and ``dict.TARGET.txt``.
        folder: gets the files.

    Raises:
        UserError: a file is missing or damaged, the sides have different numbers of rows, or a dictionary lacks more
            than 5 % of the tokens.
    """
    source, target = pair
    rows: dict[str, list[int]] = {}
    for language in pair:
        path = dictionaries / f"dict.{language}.txt"
        dictionary = read_dictionary(path)
        coverage = Coverage(dictionary.indices.__contains__)
        for split, prefix in prefixes.items():
            stem = folder / f"{split}.{source}-{target}.{language}"
            rows.setdefault(split, []).append(binarise(Path(f"{prefix}.{language}"), dictionary, stem, coverage))
        coverage.check(f"the text of {language}", str(path), "give the sentencepiece model that fits the dictionary")
        # byte for byte: fairseq writes a dictionary anew, without its #fairseq:overwrite
        shutil.copyfile(path, folder / path.name)
    for split, (one, other) in rows.items():
        if one != other:
            raise UserError(f"{prefixes[split]}: {one} rows of {source}, {other} of {target}; give parallel text")


def main(folder: str, dictionaries: str, source: str, target: str, *prefixes: str) -> None:
    """What the stage scripts call; the arguments are those of :func:`binarise_pair`, each prefix as SPLIT=PREFIX."""
    of_splits = {split: Path(prefix) for split, _, prefix in (word.partition("=") for word in prefixes)}
    binarise_pair(of_splits, (source, target), Path(dictionaries), Path(folder))


if __name__ == "__main__":
    with one_line_errors():
        main(*sys.argv[1:])
