"""Raw text of one language pair of an IWSLT campaign, from a WIT3 archive that is unpacked; see get_iwslt.sh."""

import argparse
import html
import re
import sys
from pathlib import Path

SETS = {
    2013: (["TED.dev2010"], ["TED.tst2010"]),
    2014: ([], ["TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"]),
    2015: (["TED.tst2010", "TED.tst2011"], ["TED.tst2012", "TED.tst2013"]),
    2017: (["TED.dev2010"], [f"TED.tst{year}" for year in range(2010, 2016)]),
}
"""Of each campaign, the sets that are the validation text and the test text."""
HELD_OUT = 23
"""Where no set is the validation text, each pair with a multiple of this number is."""
MAX_WORDS = 175
SEGMENT = re.compile(r"\s*<seg id=\"\d+\">(.*)</seg>")

Pair = tuple[str, str]


def lines(path: Path) -> list[str]:
    """The lines of a file. Only a line feed ends one."""
    if not path.is_file():
        sys.exit(f"no {path.name} in {path.parent}")
    try:
        return path.read_bytes().decode("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        sys.exit(f"{path}: is not UTF-8 from byte {error.start} on")


def training_text(path: Path) -> list[str]:
    """The lines of the talks. Their addresses, titles, speakers and so on are in tags."""
    return [line.strip() for line in lines(path) if not line.lstrip().startswith("<")]


def segments(path: Path) -> list[str]:
    """The segments of a development or test set, without the XML around them."""
    found = filter(None, map(SEGMENT.match, lines(path)))
    return [html.unescape(segment[1]).strip() for segment in found]


def parallel(sides: list[list[str]], names: list[str]) -> list[Pair]:
    """Both sides, row by row."""
    if len(sides[0]) != len(sides[1]) or not sides[0]:
        sys.exit(f"{names[0]} has {len(sides[0])} lines, {names[1]} has {len(sides[1])}")
    return list(zip(*sides, strict=True))


def kept(pair: Pair) -> bool:
    """Whether a training pair is taken."""
    return all(0 < len(side.split()) <= MAX_WORDS for side in pair)


def splits(folder: Path, year: int, languages: Pair) -> dict[str, list[Pair]]:
    """Training, validation and test pairs."""
    stem = "-".join(languages)
    names = [f"train.tags.{stem}.{language}" for language in languages]
    all_pairs = parallel([training_text(folder / name) for name in names], names)
    train = [pair for pair in all_pairs if kept(pair)]
    left_out = len(all_pairs) - len(train)
    print(f"{left_out} of {len(all_pairs)} training pairs left out: a side is empty or too long", file=sys.stderr)
    text: dict[str, list[Pair]] = {"train": train, "valid": [], "test": []}
    for split, sets in zip(("valid", "test"), SETS[year], strict=True):
        for name in sets:
            names = [f"IWSLT{year % 100}.{name}.{stem}.{language}.xml" for language in languages]
            text[split] += parallel([segments(folder / name) for name in names], names)
    if not SETS[year][0]:
        text["valid"] = train[HELD_OUT - 1 :: HELD_OUT]
        del train[HELD_OUT - 1 :: HELD_OUT]
    return text


def main() -> None:
    """Write train, valid and test of both languages to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("year", type=int, choices=SETS)
    parser.add_argument("languages", nargs=2)
    parser.add_argument("output", type=Path)
    parser.add_argument("--lowercase", action="store_true")
    arguments = parser.parse_args()
    source, target = arguments.languages
    for split, pairs in splits(arguments.folder, arguments.year, (source, target)).items():
        for side, language in enumerate((source, target)):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            path = arguments.output / f"{split}.{language}"
            path.write_text(text.lower() if arguments.lowercase else text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
