"""`fairseq-kd synthetic`: a corpus of the made-up language pair of :mod:`fairseq_kd.corpus.language`.

``--styles`` and ``--synonyms`` set how many right translations a source has; with 1 and 1 it has one.
"""

import argparse
from pathlib import Path
from random import Random

from fairseq_kd.corpus.language import Language, count_translations
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import whole_file, write_json
from fairseq_kd.storage.provenance import versions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-kd synthetic``."""
    add = parser.add_argument
    add("--output", required=True, metavar="DIR", help="writes {train,valid,test}.{src,tgt} here")
    for split, count in (("train", 12000), ("valid", 300), ("test", 1000)):
        add(f"--{split}", type=int, default=count, metavar="N", help=f"rows (default {count})")
    add("--seed", type=int, default=1, metavar="S", help="decides both language and sentences (default 1)")
    add("--styles", type=int, default=3, metavar="K", help="hidden styles, 1 to 6 (default 3)")
    add("--synonyms", type=int, default=3, metavar="K", help="most synonyms a word has, 1 to 4 (default 3)")


def run(options: argparse.Namespace) -> None:
    """Write the corpus and, last, ``synthetic.json``: options, versions and the median number of translations."""
    language = Language(options.seed, options.styles, options.synonyms)
    for split in ("train", "valid", "test"):
        if getattr(options, split) < 1:
            raise UserError(f"--{split} {getattr(options, split)}: give at least 1 row")
    output, seen = Path(options.output), set[str]()
    # The test set comes first, so that it is the same for any number of training rows.
    for split in ("test", "valid", "train"):
        random = Random(f"{options.seed} {split}")
        sources: list[str] = []
        while len(sources) < getattr(options, split):
            source = language.draw_source(random)
            if source not in seen:
                seen.add(source)
                sources.append(source)
        targets = [language.draw_translation(source, random) for source in sources]
        for side, lines in (("src", sources), ("tgt", targets)):
            with whole_file(output / f"{split}.{side}") as handle:
                handle.writelines(line + "\n" for line in lines)
    counts = sorted(count_translations(language, source) for source in sources)
    used = {name: getattr(options, name) for name in ("seed", "train", "valid", "test", "styles", "synonyms")}
    write_json(output / "synthetic.json", {**used, "median_translations": counts[len(counts) // 2], **versions()})
