"""Which files of a folder belong to a data-bin: its language pairs, and the files of a split.

The rules are fairseq's (``load_langpair_dataset``), but a pair is never guessed. Neither torch nor fairseq is imported.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from fairseq_kd.errors import UserError

Languages = tuple[str | None, str | None]
"""Source and target language, each None where nobody named it."""
UNNAMED: Languages = (None, None)
TRAIN = "train"
"""The split that fairseq-train combines from ``train``, ``train1``, ``train2``, …"""

_INDEX = re.compile(r".+\.(?P<pair>[^.]+-[^.]+)\.(?P<language>[^.]+)\.idx")


def folders(data: str | Path) -> list[Path]:
    """The data-bins of fairseq's ``a:b``; a folder whose name holds a colon is one data-bin."""
    if os.path.isdir(data):
        return [Path(data)]
    return [Path(path) for path in str(data).split(os.pathsep) if path] or [Path(data)]


def first_folder(data: str | Path) -> Path:
    """The data-bin whose dictionaries, and whose valid and test, fairseq takes.

    Raises:
        UserError: there is no such folder.
    """
    folder = folders(data)[0]
    if not folder.is_dir():
        raise UserError(
            f"data-bin {folder}: no such folder; make it with fairseq-preprocess or scripts/prepare_data.sh"
        )
    return folder


def only_folder(data: str | Path, split: str) -> Path:
    """The data-bin that holds ``split``: of several, the first one has all splits but train.

    Raises:
        UserError: there is no such folder, or several of them share the training split.
    """
    first = first_folder(data)
    if split == TRAIN and len(folders(data)) > 1:
        raise UserError(
            f"data-bin {data}: fairseq-train takes one of these {len(folders(data))} data-bins in each epoch, so they "
            "have no common rows of train; give one at a time, or join them with scripts/join_databins.sh"
        )
    return first


def pairs_in(folder: Path) -> list[tuple[str, str]]:
    """All language pairs of a folder's ``SPLIT.SOURCE-TARGET.LANGUAGE.idx``, sorted.

    A code may hold hyphens. ``en-zh-CN`` is cut where both sides have a dictionary and text. Where the folder lacks
    one of these, the cut that has most of them is taken.
    """
    languages = defaultdict(set)
    for path in folder.iterdir():
        if found := _INDEX.fullmatch(path.name):
            languages[found["pair"]].add(found["language"])
    return sorted({cut for pair, sides in languages.items() for cut in _cuts(folder, pair, sides)})


def _cuts(folder: Path, pair: str, sides: set[str]) -> list[tuple[str, str]]:
    """The best ways to read ``pair`` as two languages; ``sides`` have files."""
    parts = pair.split("-")
    cuts = [("-".join(parts[:place]), "-".join(parts[place:])) for place in range(1, len(parts))]
    evidence = {
        cut: (
            sum((folder / f"dict.{language}.txt").is_file() for language in cut),
            len(sides & set(cut)),
            cut[0] in sides,  # of source-only data
        )
        for cut in cuts
        if all(cut) and sides & set(cut)
    }
    best = max(evidence.values(), default=None)
    return [cut for cut, found in evidence.items() if found == best]


def choose_pair(
    data: str | Path, given: Languages = UNNAMED, recorded: Callable[[], Languages] = lambda: UNNAMED
) -> tuple[str, str]:
    """Source and target language to read a data-bin in.

    Args:
        data: the folder, or several as ``a:b``; the first one counts.
        given: languages that the user named. They may be those of the files in the other direction.
        recorded: asked for a checkpoint's languages where the folder holds several pairs, or names that tell none.

    Raises:
        UserError: there is no such folder, it holds no data-bin or not the given languages, or several pairs fit.
    """
    folder = first_folder(data)
    pairs = pairs_in(folder)
    unclear = not pairs and any(folder.glob("*.idx"))
    if unclear and not any(given):
        given = recorded()
    if not pairs and not (all(given) and _has_dictionaries(folder, given)):
        raw = any(re.fullmatch(r".+\.[^.]+-[^.]+\.[^.]+", path.name) for path in folder.iterdir() if path.is_file())
        reason = "it holds raw text; leave out --dataset-impl raw" if raw else "was it made by fairseq-preprocess?"
        if unclear:
            reason = "if the languages hold a dot, as tok.en, give --source-lang and --target-lang"
        raise UserError(f"data-bin {folder}: no file named like train.en-de.en.idx; {reason}")
    if not any(given):
        fitting = pairs
    elif all(given) and _has_dictionaries(folder, given):
        fitting = [(str(given[0]), str(given[1]))]
    else:
        both_ways = {*pairs, *((target, source) for source, target in pairs)}
        # fairseq-preprocess --only-source without a target language writes train.en-None.en
        fitting = sorted(
            pair
            for pair in both_ways
            if all(name in (None, own) or own == "None" for name, own in zip(given, pair, strict=True))
        )
        # The direction of the files comes first, as in fairseq
        fitting = [pair for pair in fitting if pair in pairs] or fitting
    if len(fitting) > 1:
        known = recorded()
        fitting = [pair for pair in fitting if pair == known] or fitting
    if len(fitting) == 1:
        return fitting[0]
    names = " and ".join(map(pair_name, pairs))
    if fitting:
        raise UserError(
            f"data-bin {folder}: it holds the pairs {names}; choose one with --source-lang and --target-lang"
        )
    asked = " ".join(
        f"{option} {name}" for option, name in zip(("--source-lang", "--target-lang"), given, strict=True) if name
    )
    raise UserError(f"{asked}: data-bin {folder} holds {names}; give two languages of one pair")


def pair_name(pair: tuple[str, str]) -> str:
    """How messages name a pair: en-de, but "en to zh-CN" where a code has a hyphen."""
    return (" to " if any("-" in language for language in pair) else "-").join(pair)


def _has_dictionaries(folder: Path, pair: Languages) -> bool:
    return all((folder / f"dict.{language}.txt").is_file() for language in pair)


def check_pair(folder: Path, pair: tuple[str, str], option: str, text: str) -> None:
    """Raise a UserError unless a data-bin has files of ``pair``, in either direction.

    Args:
        folder: the data-bin.
        pair: source and target language.
        option: names the data-bin in the message.
        text: names in the message what has these languages.
    """
    first_folder(folder)
    pairs = pairs_in(folder)
    if pairs and pair not in pairs and pair[::-1] not in pairs:
        raise UserError(f"{option}: it is {' and '.join(map(pair_name, pairs))}, {text} is {pair_name(pair)}")


def parts_of(folder: Path, split: str, source: str, target: str) -> list[str]:
    """The beginnings of the names of a split's files, ``train.en-de.``; the language and ``.bin`` or ``.idx`` follow.

    As in fairseq-train, ``train`` goes on in ``train1``, ``train2``, …, up to the first number that is missing. Files
    of the other direction, ``train.de-en.``, are taken where there are none of this one.
    """
    parts = []
    for name in _numbered(split):
        found = next((p for p in _both_ways(name, source, target) if (folder / f"{p}{source}.idx").is_file()), None)
        if found is None:
            break
        parts.append(found)
    return parts


def _numbered(split: str) -> Iterator[str]:
    yield split
    number = 1
    while split == TRAIN:
        yield f"{split}{number}"
        number += 1


def _both_ways(split: str, source: str, target: str) -> tuple[str, str]:
    return f"{split}.{source}-{target}.", f"{split}.{target}-{source}."


def file_names(folder: Path, split: str, source: str, target: str, *languages: str) -> list[str]:
    """The names of a split's files of ``languages``, part by part: first ``.bin``, then ``.idx``.

    Where the split is missing, these are the names that it should have.
    """
    parts = parts_of(folder, split, source, target) or [_both_ways(split, source, target)[0]]
    return [f"{part}{language}.{end}" for part in parts for language in languages for end in ("bin", "idx")]


def splits_of(folder: Path, source: str, target: str) -> list[str]:
    """The names of all splits of a pair, sorted; the parts ``train1``, ``train2``, … of train are not named."""
    endings = [f"{name}{source}.idx" for name in _both_ways("", source, target)]
    names = {
        path.name.removesuffix(ending) for path in folder.iterdir() for ending in endings if path.name.endswith(ending)
    }
    return sorted(names - {part.split(".")[0] for part in parts_of(folder, TRAIN, source, target)[1:]})
