"""Raw text of the tasks of f-DISTILL (Wen et al. 2023), from their official files; see get_fdistill.sh."""

import gzip
import json
import random
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

SEED = 1
"""Draws the training pairs of wmt16_en_ro."""
TURNS = " | "
"""Between the turns of a dialogue, and between the records of a set."""
REFERENCES = 3
"""Sentences of a set of records in DART's test set, as its own evaluation has them."""
SPLITS = {"train": "train", "validation": "valid", "test": "test"}
"""XSum's names of the splits, and ours."""
NO_TEXT = frozenset(
    ["Share this with", "Email", "Facebook", "Messenger", "Twitter", "Pinterest", "WhatsApp", "Linkedin", "LinkedIn",
     "Copy this link", "These are external links and will open in a new window"]
)  # fmt: skip
"""Lines of BBC's pages that are no part of an article; Hugging Face's reader of XSum leaves them out too."""
XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

DAMAGED = (
    ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, zlib.error, tarfile.TarError,
    ElementTree.ParseError,
)  # fmt: skip
"""What a reader raises where a file is cut short or is of another kind."""

Pair = tuple[str, str]


class Writer:
    """Writes pairs to SPLIT.SOURCE and SPLIT.TARGET of a folder."""

    def __init__(self, folder: Path, languages: Pair, limit: int):
        self.folder, self.languages, self.limit = folder, languages, limit
        self.open: dict[str, IO[str]] = {}

    def add(self, split: str, source: str, target: str) -> None:
        """Write a pair, each side on one line; a side that is empty leaves it out."""
        words = source.split()
        source, target = " ".join(words[: self.limit] if self.limit else words), " ".join(target.split())
        if source and target:
            self.line(f"{split}.{self.languages[0]}", source)
            self.line(f"{split}.{self.languages[1]}", target)

    def line(self, name: str, text: str) -> None:
        """Write a line to a file of the folder."""
        if name not in self.open:
            self.open[name] = (self.folder / name).open("w", encoding="utf-8", newline="\n")
        self.open[name].write(text + "\n")

    def close(self) -> None:
        """Close all files."""
        for handle in self.open.values():
            handle.close()


def wmt16(writer: Writer, europarl: Path, setimes: Path, pairs: str) -> None:
    """Draw the training pairs from both corpora, in their order."""
    every = [*europarl_pairs(europarl), *setimes_pairs(setimes)]
    if len(every) < int(pairs):
        sys.exit(f"{europarl.name} and {setimes.name} have {len(every)} pairs, fewer than --pairs {pairs}")
    for place in sorted(random.Random(SEED).sample(range(len(every)), int(pairs))):
        writer.add("train", *every[place])


def europarl_pairs(archive: Path) -> Iterator[Pair]:
    """The pairs of Europarl that have text on both sides."""
    sides: dict[str, list[str]] = {}
    with tarfile.open(archive) as files:
        for member in files:
            language = member.name.rpartition("europarl-v8.ro-en.")[2]
            handle = files.extractfile(member) if language in ("en", "ro") else None
            if handle is not None:
                sides[language] = [line.strip() for line in handle.read().decode().split("\n")]
    if set(sides) != {"en", "ro"}:
        sys.exit(f"{archive} has no europarl-v8.ro-en.en and europarl-v8.ro-en.ro; remove it")
    if len(sides["en"]) != len(sides["ro"]):
        sys.exit(f"{archive}: europarl-v8.ro-en.en and europarl-v8.ro-en.ro are not parallel")
    return (pair for pair in zip(sides["en"], sides["ro"], strict=True) if all(pair))


def setimes_pairs(archive: Path) -> Iterator[Pair]:
    """The pairs of a TMX file that have text on both sides."""
    with gzip.open(archive) as handle:
        for _, unit in ElementTree.iterparse(handle):
            if unit.tag == "tu":
                sides = {tuv.get(XML_LANGUAGE): tuv.findtext("seg") or "" for tuv in unit.iter("tuv")}
                pair = sides.get("en", "").strip(), sides.get("ro", "").strip()
                if all(pair):
                    yield pair
                unit.clear()


def dart(writer: Writer, *files: Path) -> None:
    """Each sentence of a set of records; of the test set each set of records, with up to three sentences."""
    for split, path in zip(("train", "valid", "test"), files, strict=True):
        sentences: dict[str, list[str]] = {}
        for entry in read(path):
            source = TURNS.join(" : ".join(record) for record in entry["tripleset"])
            texts = [" ".join(note["text"].split()) for note in entry["annotations"]]
            sentences.setdefault(source, []).extend(filter(None, texts))
        for source, texts in sentences.items():
            if not source or not texts:
                continue
            for text in texts[:1] if split == "test" else texts:
                writer.add(split, source, text)
            for number in range(1, REFERENCES) if split == "test" else ():
                writer.line(f"test.{writer.languages[1]}.{number + 1}", "".join(texts[number : number + 1]))


def commonsense_dialogue(writer: Writer, *files: Path) -> None:
    """Each turn as a reply to the context and the turns before it."""
    for split, path in zip(("train", "valid", "test"), files, strict=True):
        for dialogue in read(path).values():
            said = [dialogue["context"], *dialogue["turns"]]
            for place in range(1, len(said)):
                writer.add(split, TURNS.join(said[:place]), said[place])


def xsum(writer: Writer, split_list: Path, archive: Path) -> None:
    """Articles and their first sentences, in the order of the archive."""
    split_of = {number: SPLITS[name] for name, numbers in read(split_list).items() for number in numbers}
    missing = dict(split_of)
    with tarfile.open(archive, "r|*") as files:
        for member in files:
            number = Path(member.name).name.removesuffix(".summary")
            handle = files.extractfile(member) if number in missing else None
            if handle is not None:
                document, summary = article(handle.read().decode(), member.name)
                writer.add(missing.pop(number), document, summary)
    if missing:
        sys.exit(
            f"{archive} lacks {len(missing)} of {len(split_of)} articles, such as {next(iter(missing))}; remove it"
        )


def article(text: str, name: str) -> Pair:
    """The body and the first sentence of a file of the archive: sections, each behind its name between two [SN]."""
    parts = text.split("[SN]")
    sections = dict(zip(parts[1::2], parts[2::2], strict=False))
    if not {"FIRST-SENTENCE", "RESTBODY"} <= set(sections):
        sys.exit(f"{name}: no article of XSum, which has the sections FIRST-SENTENCE and RESTBODY")
    body = (line for line in sections["RESTBODY"].split("\n") if line.strip() not in NO_TEXT)
    return "\n".join(body), sections["FIRST-SENTENCE"]


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_bytes())


TASKS: dict[str, tuple[Callable[..., None], Pair]] = {
    "wmt16_en_ro": (wmt16, ("en", "ro")),
    "dart": (dart, ("records", "en")),
    "xsum": (xsum, ("document", "summary")),
    "commonsense_dialogue": (commonsense_dialogue, ("context", "reply")),
}


def ready(writer: Writer, pairs: int, *splits: str) -> None:
    """Draw ``pairs`` training pairs of ready text, or keep all for 0, and the first words of each source.

    Lines that are short enough stay as they are.
    """
    for split in splits:
        paths = [writer.folder / f"{split}.{language}" for language in writer.languages]
        drawn = draw(paths[0], pairs) if pairs and split == "train" else None
        for path, limit in zip(paths, (writer.limit, 0), strict=True):
            new = path.with_name(f"{path.name}.new")
            with path.open("rb") as lines, new.open("wb") as handle:
                handle.writelines(
                    shortened(line, limit) for row, line in enumerate(lines) if drawn is None or row in drawn
                )
            new.replace(path)


def draw(path: Path, pairs: int) -> set[int]:
    """The rows of a text that are drawn."""
    with path.open("rb") as lines:
        rows = sum(1 for _ in lines)
    if rows < pairs:
        sys.exit(f"{path.name} has {rows} pairs, fewer than --pairs {pairs}")
    return set(random.Random(SEED).sample(range(rows), pairs))


def shortened(line: bytes, limit: int) -> bytes:
    """The first ``limit`` words of a line; all of it for 0."""
    words = line.decode(errors="surrogateescape").split()
    if not limit or len(words) <= limit:
        return line
    return f"{' '.join(words[:limit])}\n".encode(errors="surrogateescape")


def main(task: str, folder: str, limit: str, given: Iterable[str]) -> None:
    """Write the text of a task to a folder; the first ``limit`` words of each source, or all for 0."""
    convert, languages = TASKS[task]
    writer = Writer(Path(folder), languages, int(limit))
    words = list(given)
    if words[0] == "ready":
        return ready(writer, int(words[1]), *words[2:])
    try:
        convert(writer, *(word if word.isdigit() else Path(word) for word in words))
    except DAMAGED as error:
        names = ", ".join(word for word in words if not word.isdigit())
        sys.exit(f"{names}: cannot be read ({error!r}); remove what is damaged and run again")
    finally:
        writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
