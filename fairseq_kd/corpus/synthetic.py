"""A corpus of the made-up language pair of :mod:`fairseq_kd.corpus.language`."""

from pathlib import Path
from random import Random
from typing import Any

from fairseq_kd.corpus.language import Language, count_translations
from fairseq_kd.corpus.parallel_text import write_lines
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import write_json
from fairseq_kd.storage.provenance import versions


def synthesise(
    output: Path,
    *,
    train: int,
    valid: int,
    test: int,
    seed: int,
    styles: int = 3,
    synonyms: int = 3,
) -> dict[str, Any]:
    """Write ``{train,valid,test}.{src,tgt}`` and, last, ``synthetic.json``. No source comes twice.

    Args:
        output: the folder that gets the files.
        train: rows of the training split.
        valid: rows of the validation split.
        test: rows of the test split, which does not depend on the other two.
        seed: decides both language and sentences.
        styles: hidden styles, 1 to 6. With one style and one synonym a source has one right translation.
        synonyms: the most synonyms a word has, 1 to 4.

    Returns:
        What ``synthetic.json`` says: the options, "median_translations" of a training source, and versions.

    Raises:
        UserError: a number is out of range.
    """
    language = Language(seed, styles, synonyms)
    rows = {"train": train, "valid": valid, "test": test}
    for split, count in rows.items():
        if count < 1:
            raise UserError(f"--{split} {count}: give at least 1 row")
    seen = set[str]()
    # The test set comes first, so that it is the same for any number of training rows.
    for split in ("test", "valid", "train"):
        random = Random(f"{seed} {split}")
        sources: list[str] = []
        while len(sources) < rows[split]:
            source = language.draw_source(random)
            if source not in seen:
                seen.add(source)
                sources.append(source)
        write_lines(output / f"{split}.src", sources)
        write_lines(output / f"{split}.tgt", [language.draw_translation(source, random) for source in sources])
    counts = sorted(count_translations(language, source) for source in sources)
    options = {"seed": seed, **rows, "styles": styles, "synonyms": synonyms}
    report = {**options, "median_translations": counts[len(counts) // 2], **versions()}
    write_json(output / "synthetic.json", report)
    return report
