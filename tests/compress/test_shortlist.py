"""`fairseq-kd export --shortlist`: a vocabulary map of aligned text, and the folder that holds it."""

import gzip
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import ctranslate2
import numpy as np
import pytest

from fairseq_kd import cli
from fairseq_kd.compress import shortlist, word_alignment
from fairseq_kd.compress.options import ShortlistOptions
from fairseq_kd.compress.parallel_rows import Text, read_text
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.compress.test_export_command import export


def read_map(path: Path) -> dict[str, list[str]]:
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert len({symbol for symbol, _ in lines}) == len(lines)
    return {symbol: allowed.split(" ") for symbol, allowed in lines}


def test_the_map_of_a_text_translates_its_words(tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    """In this language pair t3 is the translation of s3, whatever its place."""
    pytest.importorskip("eflomal")
    output, numbers = tmp_path / "out", ("--shortlist-candidates", 2, "--shortlist-frequent", 1)
    export(tiny_teacher, tiny_corpus, output, "--shortlist", tiny_corpus, *numbers)
    made = read_map(output / "vmap.txt")
    assert next(iter(made)) == "" and len(made[""]) == 1
    words = [symbol for symbol in made if symbol.startswith("s")]
    # Those that the training text has often enough.
    assert len(words) >= 19 and sum(word.replace("s", "t") in made[word] for word in words[:15]) >= 14
    assert all(word in made[word] and len(made[word]) <= 3 for word in words)
    signature = read_json(output / "signature.json")
    assert signature["shortlist"]["candidates"] == 2 and signature["shortlist"]["frequent"] == 1
    assert signature["shortlist_measured"]["coverage"] > 0.9 and 3 < signature["shortlist_measured"]["symbols"] < 25
    assert "vmap.txt" in signature["files"]
    translator = ctranslate2.Translator(str(output))
    (result,) = translator.translate_batch([["s1", "s2"]], use_vmap=True, max_decoding_length=9)
    assert set(result.hypotheses[0]) <= {*made[""], *made["s1"], *made["s2"]}


def test_again_does_nothing_and_other_inputs_or_damage_are_refused(
    tiny_teacher: Path, tiny_corpus: Path, distilled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("eflomal")
    output = tmp_path / "out"
    export(tiny_teacher, tiny_corpus, output, "--shortlist", tiny_corpus)
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    export(tiny_teacher, tiny_corpus, output, "--shortlist", tiny_corpus)
    assert "nothing to do" in caplog.text
    for options in ([], ["--shortlist", distilled], ["--shortlist", tiny_corpus, "--shortlist-frequent", 9]):
        with pytest.raises(UserError, match="holds something else"):
            export(tiny_teacher, tiny_corpus, output, *options)
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    (output / "vmap.txt").write_text("\tt1\n")
    with pytest.raises(UserError, match=r"vmap.txt: damaged or missing"):
        export(tiny_teacher, tiny_corpus, output, "--shortlist", tiny_corpus)


def test_a_plain_export_does_not_become_one_with_a_shortlist(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("eflomal")
    export(tiny_teacher, tiny_corpus, tmp_path / "out")
    with pytest.raises(UserError, match="holds something else"):
        export(tiny_teacher, tiny_corpus, tmp_path / "out", "--shortlist", tiny_corpus)


def test_without_the_aligner_nothing_is_written(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "eflomal", None)
    with pytest.raises(UserError, match=r"--shortlist needs eflomal .* pip install 'fairseq-kd\[shortlist\]'"):
        export(tiny_teacher, tiny_corpus, tmp_path / "out", "--shortlist", tiny_corpus)
    assert not list(tmp_path.iterdir())


def test_the_options_need_each_other(tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--shortlist-frequent: needs --shortlist"):
        export(tiny_teacher, tiny_corpus, tmp_path / "out", "--shortlist-frequent", 9)
    with pytest.raises(UserError, match="--shortlist-candidates 0: give 1 or more"):
        export(tiny_teacher, tiny_corpus, tmp_path / "out", "--shortlist", tiny_corpus, "--shortlist-candidates", 0)
    words = ["export", "--model", "m", "--to", "sparse", "--output", "o", "--shortlist", str(tiny_corpus)]
    with pytest.raises(UserError, match="--shortlist: is for --to ctranslate2 alone"):
        cli.main(words)


def test_two_files_give_the_text_that_their_data_bin_gives(tiny_text: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    for language in ("src", "tgt"):
        packed = gzip.compress((tiny_text / f"train.{language}").read_bytes())
        (tmp_path / f"train.{language}.gz").write_bytes(packed)
    files, compressed, databin = (
        read_text(text, task) for text in (tiny_text / "train", tmp_path / "train", tiny_corpus)
    )
    assert len(files.sources) == 300
    for mine in (files, compressed):
        for own, other in ((mine.sources, databin.sources), (mine.targets, databin.targets)):
            assert all(np.array_equal(one, two) for one, two in zip(own, other, strict=True))


def test_text_that_cannot_be_used_is_refused(tiny_text: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    with pytest.raises(
        UserError, match=r"there is no none.src; give a data-bin, or for two files TEXT.src and TEXT.tgt"
    ):
        read_text(tmp_path / "none", task)
    for name, source, target, reason in (
        ("short", "s1\ns2\n", "t1\n", "2 source rows, but 1 target rows"),
        ("empty", "", "", "has no text"),
        ("raw", "s1 und\n", "t1 t2\n", r"not in the model's dictionary \(raw.src\)"),
    ):
        (tmp_path / f"{name}.src").write_text(source)
        (tmp_path / f"{name}.tgt").write_text(target)
        with pytest.raises(UserError, match=reason):
            read_text(tmp_path / name, task)


def test_links_are_those_of_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    class Aligner:
        def align(self, sources: Iterable[str], targets: Iterable[str], forward: str, reverse: str) -> None:
            assert ([*sources], [*targets]) == (["5 6\n", "7\n"], ["8 9\n", "8\n"])
            Path(forward).write_text("0-0 1-0\n\n")
            Path(reverse).write_text("1-1 0-0\n0-0\n")

    monkeypatch.setattr(word_alignment, "import_eflomal", lambda: SimpleNamespace(Aligner=Aligner))
    sources, targets = ([np.array(row) for row in side] for side in ([[5, 6], [7]], [[8, 9], [8]]))
    found = word_alignment.align(sources, targets)
    assert [links.tolist() for links in found] == [[[0, 0], [1, 0], [1, 1]], [[0, 0]]]


def test_the_most_linked_symbols_are_allowed(tiny_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links as an aligner gives them, by hand: what is counted, kept and measured."""
    dictionary = open_databin(tiny_corpus, "test").source_dictionary
    number = dictionary.index
    s1, s2, t1, t2, t3 = map(number, ("s1", "s2", "t1", "t2", "t3"))
    rows = [[s1, s2], [s1], [s1, dictionary.unk()]]
    targets = [[t1, t2], [t3], [t1, dictionary.unk()]]
    text = Text([np.array(row) for row in rows], [np.array(row) for row in targets])
    links = [np.array([[0, 0], [1, 1]]), np.array([[0, 0]]), np.array([[0, 0], [0, 1], [1, 1]])]
    monkeypatch.setattr(shortlist, "align", lambda sources, targets: iter(links))
    counts = shortlist.count_links(text, len(dictionary))
    assert counts[s1] == Counter({t1: 2, t3: 1, dictionary.unk(): 1}) and counts[s2] == Counter({t2: 1})
    made = shortlist.make_shortlist(text, ShortlistOptions(Path(), 1, 1), dictionary, dictionary)
    assert made.always == [t1] and made.allowed[s1] == [t1, s1] and made.allowed[s2] == [t2, s2]
    assert made.of(np.array([s2])) == {t1, t2, s2}
    assert shortlist.measure(made, text) == {"symbols": (4 + 2 + 2) / 3, "coverage": 3 / 5}
    assert shortlist.map_text(made, dictionary, dictionary).startswith("\tt1\n")
