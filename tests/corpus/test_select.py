"""`fairseq-kd select` without a model: against a loop over sacreBLEU, on bad input, and begun again."""

import functools
import gzip
import logging
import math
import operator
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd import cli
from fairseq_kd.corpus.seq_inter.closest import closest, most_agreed
from fairseq_kd.corpus.seq_inter.nbest import Candidate, check_nbest
from fairseq_kd.corpus.seq_inter.select import select as select_function
from fairseq_kd.corpus.seq_inter.selection import ExactSum
from fairseq_kd.corpus.seq_inter.similarity import SMOOTH_METHODS, TOKENIZERS, Similarity
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.support.commands import BIN
from tests.support.kills import Moment, files_there, kill

WORDS = st.sampled_from(["a", "b", "c.", "3,5", "&amp;", "(d)", "ä-ö", "日本", "\u2028", "x" * 9, "don't"])
TEXTS = st.one_of(st.lists(WORDS, max_size=8).map(" ".join), st.text(alphabet="ab .,\u00a0é\x0c", max_size=15))
LISTS = st.lists(st.tuples(TEXTS, st.sampled_from([-2.0, -0.5, -0.1])), min_size=1, max_size=8)
MBR = [Similarity("mbr-chrf", "none"), Similarity("mbr-bleu", "none"), Similarity("mbr-bleu", "none", "char", "floor")]
SIMILARITIES = [Similarity("chrf", "none")] + [
    Similarity("sentence-bleu", "none", tokenize, smooth) for tokenize in TOKENIZERS for smooth in SMOOTH_METHODS
]


def value(text: str, gold: str, similarity: Similarity) -> float:
    """sacreBLEU's own, by its public functions."""
    if similarity.metric.endswith("chrf"):
        return sacrebleu.sentence_chrf(text, [gold]).score
    options = {"tokenize": similarity.tokenize, "smooth_method": similarity.smooth_method}
    return sacrebleu.sentence_bleu(text, [gold], **options).score


def brute_force(scored: list[tuple[str, float]], gold: str, similarity: Similarity) -> tuple[int, float, float]:
    """The rank chosen, the similarity of rank 1 and that of the chosen."""
    values = [value(text, gold, similarity) for text, _ in scored]
    rank = 0
    for i in range(len(scored)):
        if values[i] > values[rank] or (values[i] == values[rank] and scored[i][1] > scored[rank][1]):
            rank = i
    return rank + 1, values[0], values[rank]


@given(LISTS, TEXTS, st.sampled_from(SIMILARITIES))
def test_the_choice_is_a_loops_over_sacrebleu(
    scored: list[tuple[str, float]], gold: str, similarity: Similarity
) -> None:
    candidates = [Candidate(rank, score, text) for rank, (text, score) in enumerate(scored, 1)]
    choice = closest(candidates, gold, similarity)
    assert (choice.rank, choice.first, choice.best) == brute_force(scored, gold, similarity)
    assert choice.tokens == scored[choice.rank - 1][0]
    assert choice.distinct == len({text for text, _ in scored})


def agreement(texts: list[str], similarity: Similarity) -> list[float]:
    """Each text's mean similarity to the others, by a loop over sacreBLEU."""
    places = range(len(texts))
    return [
        sum(value(texts[i], texts[j], similarity) for j in places if j != i) / max(1, len(texts) - 1) for i in places
    ]


@given(LISTS, st.sampled_from(MBR))
def test_the_most_agreed_is_a_loops_over_sacrebleu(scored: list[tuple[str, float]], similarity: Similarity) -> None:
    candidates = [Candidate(rank, score, text) for rank, (text, score) in enumerate(scored, 1)]
    values = agreement([text for text, _ in scored], similarity)
    choice = most_agreed(candidates, similarity)
    assert choice.first == pytest.approx(values[0]) and choice.best == pytest.approx(max(values))
    likely = [i for i, each in enumerate(values) if each == pytest.approx(max(values))]
    assert choice.rank - 1 in likely and choice.tokens == scored[choice.rank - 1][0]
    same = [score for text, score in scored if text == choice.tokens]
    assert scored[choice.rank - 1][1] == max(same)


@pytest.mark.parametrize("metric", ["mbr-bleu", "mbr-chrf"])
def test_minimum_bayes_risk_needs_no_gold(metric: str, tmp_path: Path) -> None:
    lists, _ = write_lists(tmp_path, 30, 5)
    words = ["select", "--nbest", tmp_path / "lists.nbest.tsv", "--metric", metric, "--block-rows", 7, "--workers", 2]
    cli.main([*map(str, words), "--output", str(tmp_path / "out")])
    chosen = (tmp_path / "out" / "selected.txt").read_text().splitlines()
    best = []
    for row, tokens in zip(lists, chosen, strict=True):
        values = agreement(
            [one.replace(" ", "").replace("▁", " ").strip() for one, _ in row], Similarity(metric, "none")
        )
        assert values[[one for one, _ in row].index(tokens)] == pytest.approx(max(values))
        best.append(max(values))
    report = read_json(tmp_path / "out" / "report.json")
    assert report["chosen"] == pytest.approx(math.fsum(best) / 30) and len(report["ranks"]) > 2
    with pytest.raises(UserError, match="needs none; leave it out"):
        select(tmp_path, "--metric", metric, output="other")
    with pytest.raises(UserError, match="--metric chrf: needs the gold target; give --reference"):
        cli.main(["select", "--nbest", str(words[2]), "--metric", "chrf", "--output", str(tmp_path / "third")])


@pytest.mark.parametrize(("metric", "place"), [("sentence-bleu", 1), ("mbr-bleu", 3)])
def test_text_without_spaces_is_not_compared_word_by_word(
    metric: str, place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With 13a a Chinese line is one word, so that all candidates but an exact one are equally far from gold."""
    gold = "今天北京的天气很好。"
    candidates = ["▁ 昨天 上海 的 雨 很大", "▁ 今天 北京 的 天气 好", "▁ 今天 北京 天气 好", "▁ 今天 上海 的 天气 好"]
    lines = [f"0\t{rank}\t{-rank / 10}\t{text}\n" for rank, text in enumerate(candidates, 1)]
    (tmp_path / "lists.nbest.tsv").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "gold.txt").write_text(gold + "\n", encoding="utf-8")
    given = [] if metric == "mbr-bleu" else ["--reference", str(tmp_path / "gold.txt")]
    words = ["select", "--nbest", str(tmp_path / "lists.nbest.tsv"), *given, "--metric", metric, "--output"]
    cli.main([*words, str(tmp_path / "out")])
    assert (tmp_path / "out" / "selected.txt").read_text(encoding="utf-8") == candidates[place] + "\n"
    assert "tok:zh" in read_json(tmp_path / "out" / "report.json")["metric"] and "--tokenize" not in caplog.text
    cli.main([*words, str(tmp_path / "asked"), "--tokenize", "13a"])
    assert (tmp_path / "asked" / "selected.txt").read_text(encoding="utf-8") == candidates[0] + "\n"
    assert "--tokenize 13a cuts words at spaces, but Chinese text has none" in caplog.text


@pytest.mark.parametrize("metric", ["sentence-bleu", "chrf"])
def test_a_tie_goes_to_the_higher_score_and_then_to_the_first(metric: str) -> None:
    similarity = Similarity(metric)
    # One text in several cuts, as sentencepiece's lists have it
    cuts = ["▁x ▁y", "▁a ▁b c", "▁a ▁b c", "▁a ▁ bc", "▁ab"]
    candidates = [
        Candidate(rank, score, cuts[rank - 1]) for rank, score in enumerate((-0.1, -0.5, -0.4, -0.4, -0.1), 1)
    ]
    choice = closest(candidates, "a bc", similarity)
    assert (choice.rank, choice.distinct) == (3, 3)
    assert choice.best == pytest.approx(100.0) and choice.first < 50


def write_lists(folder: Path, rows: int, size: int, name: str = "lists.nbest.tsv") -> tuple[list[list[Any]], list[str]]:
    """n-best lists and gold lines like them; files of both are in ``folder``."""
    draw = random.Random(rows)
    words = ["▁a", "▁b", "c", "▁d", "▁e."]
    gold = ["".join(draw.choices(words, k=draw.randint(4, 8))).replace("▁", " ").strip() for _ in range(rows)]
    lists: list[list[Any]] = []
    for _ in range(rows):
        scores = sorted((-draw.randint(1, 5) / 10 for _ in range(size)), reverse=True)
        lists.append([(" ".join(draw.choices(words, k=draw.randint(1, 8))), score) for score in scores])
    with open(folder / name, "w") as handle:
        for row, scored in enumerate(lists):
            for rank, (tokens, score) in enumerate(scored, 1):
                handle.write(f"{row}\t{rank}\t{score:.6f}\t{tokens}\n")
    (folder / "gold.txt").write_text("".join(f"{line}\n" for line in gold))
    return lists, gold


def select(folder: Path, *options: object, output: str = "out") -> Path:
    fixed = ["--nbest", folder / "lists.nbest.tsv", "--reference", folder / "gold.txt", "--output", folder / output]
    cli.main(["select", *map(str, (*fixed, *options))])
    return folder / output


@pytest.mark.parametrize("metric", ["sentence-bleu", "chrf"])
def test_a_file_is_chosen_from_row_by_row(metric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists, gold = write_lists(tmp_path, 50, 4)
    output = select(tmp_path, "--metric", metric, "--workers", 2, "--block-rows", 7)
    similarity = Similarity(metric, "none")
    joined = [[(tokens.replace(" ", "").replace("▁", " ").strip(), score) for tokens, score in row] for row in lists]
    expected = [brute_force(row, line, similarity) for row, line in zip(joined, gold, strict=True)]
    chosen = (output / "selected.txt").read_text().splitlines()
    assert chosen == [row[rank - 1][0] for row, (rank, _, _) in zip(lists, expected, strict=True)]
    report = read_json(output / "report.json")
    assert report["gain"] == pytest.approx(math.fsum(best - first for _, first, best in expected) / 50)
    assert report["rank_1"] == pytest.approx(math.fsum(first for _, first, _ in expected) / 50)
    ranks = [rank for rank, _, _ in expected]
    assert report["ranks"] == {str(rank): ranks.count(rank) for rank in sorted(set(ranks))} and len(set(ranks)) == 4
    assert (report["rows"], report["candidates"]) == (50, 4)
    printed = capsys.readouterr().out
    assert f"gain {report['gain']:.2f}" in printed and f"1: {report['ranks']['1'] / 50:.1%}" in printed
    assert report["metric"] in printed and report["metric"].startswith("nrefs:1|case:mixed|eff:yes|")

    other = select(tmp_path, "--metric", metric, "--workers", 1, output="other")
    for name in ("selected.txt", "report.json"):
        assert (other / name).read_bytes() == (output / name).read_bytes()


def test_rows_without_a_translation_have_no_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list of a row that the teacher did not translate is empty texts; one empty candidate among others is a rank."""
    lines = [["a", "b"], ["", ""], ["", "a"], ["", ""]]
    text = (f"{row}\t{rank}\t-1\t{one}\n" for row, line in enumerate(lines) for rank, one in enumerate(line, 1))
    (tmp_path / "lists.nbest.tsv").write_text("".join(text))
    (tmp_path / "gold.txt").write_text("b\na\n\na\n")
    report = read_json(select(tmp_path, "--metric", "chrf") / "report.json")
    assert (report["rows"], report["ranks"], report["untranslated"]) == (4, {"1": 1, "2": 1}, 2)
    assert "chosen ranks: 1: 25.0%, 2: 25.0%, none (untranslated): 50.0%\n" in capsys.readouterr().out


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    write_lists(tmp_path, 20, 3)
    expected = (select(tmp_path) / "selected.txt").read_bytes()
    for name in ("lists.nbest.tsv", "gold.txt"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b"\n", b"\r\n"))
    assert (select(tmp_path, output="windows") / "selected.txt").read_bytes() == expected


def change(folder: Path, number: int, line: str | None) -> None:
    """Put ``line`` in the place of the line of this number, or take that out."""
    path = folder / "lists.nbest.tsv"
    lines = path.read_text().splitlines(keepends=True)
    lines[number - 1 : number] = [] if line is None else [line]
    path.write_text("".join(lines), errors="surrogateescape")


MISTAKES = {  # of 5 rows of 3 candidates
    "misnumbered row": ((8, "3\t2\t-0.1\tx\n"), "line 8: it is row 3, rank 2, expected row 2, rank 2"),
    "misnumbered rank": ((8, "2\t3\t-0.1\tx\n"), "line 8: it is row 2, rank 3, expected row 2, rank 2"),
    "missing candidate": ((6, None), "line 6: it is row 2, rank 1, expected row 1, rank 3"),
    "missing in the first row": ((2, None), "line 2: it is row 0, rank 3, expected row 1, rank 1"),
    "short last list": ((15, None), "it ends after line 14, before rank 3 of row 4"),
    "long list": ((9, "2\t3\t-1\tx\n2\t4\t-1\tx\n"), "line 10: it is row 2, rank 4, expected row 3, rank 1"),
    "one row too many": ((15, "4\t3\t-1\tx\n5\t1\t-1\tx\n"), "line 16: it is row 5 .* the reference has only 5 rows"),
    "rows from 1": ((1, "1\t1\t-1\tx\n"), "line 1: it is row 1, rank 1, expected row 0, rank 1"),
    "no tabs": ((4, "a b\n"), "line 4: it is not 'row, rank, score, subwords'"),
    "empty line": ((4, "\n"), "line 4: it is not"),
    "no score": ((4, "1\t1\tx\ty\n"), "line 4: the score 'x' is not a finite number"),
    "score of no size": ((4, "1\t1\tnan\ty\n"), "line 4: the score 'nan'"),
    "not UTF-8": ((4, "1\t1\t-1\ty\udcff\n"), "line 4: not UTF-8"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_damaged_list_is_refused_with_the_line(mistake: str, tmp_path: Path) -> None:
    write_lists(tmp_path, 5, 3)
    (number, line), told = MISTAKES[mistake]
    change(tmp_path, number, line)
    with pytest.raises(UserError, match=f"lists.nbest.tsv: {told}"):
        select(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_compressed_reference_with_windows_line_ends(tmp_path: Path) -> None:
    write_lists(tmp_path, 12, 3)
    plain = select(tmp_path, output="plain")
    (tmp_path / "gold.gz").write_bytes(gzip.compress((tmp_path / "gold.txt").read_bytes().replace(b"\n", b"\r\n")))
    packed = select(tmp_path, "--reference", tmp_path / "gold.gz", output="packed")
    for name in ("selected.txt", "report.json"):
        assert (plain / name).read_bytes() == (packed / name).read_bytes()


def test_a_missing_row_is_refused(tmp_path: Path) -> None:
    write_lists(tmp_path, 5, 3)
    for _ in range(3):
        change(tmp_path, 7, None)
    with pytest.raises(UserError, match="line 7: it is row 3, rank 1, expected row 2, rank 1"):
        select(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "options", "told"),
    [
        ("lists.nbest.tsv", b"", [], "lists.nbest.tsv: the file is empty"),
        ("lists.nbest.tsv", None, [], "lists.nbest.tsv: no such file"),
        ("gold.txt", b"", [], "gold.txt: it is empty"),
        ("gold.txt", None, [], "reference .*gold.txt: no such file"),
        ("gold.txt", None, ["--source-lang", "en"], "reference .*gold.txt: no such file"),
        ("gold.txt", b"a\n" * 4, [], "line 13: it is row 4 .* the reference has only 4 rows"),
        ("gold.txt", b"a\n" * 6, [], "it ends after line 15, before rank 1 of row 5 .* the reference has 6 rows"),
        ("gold.txt", b"a\n\xff\na\na\na\n", [], "gold.txt: line 2: not UTF-8"),
        ("other", b"", ["--output", "."], "--output .: the lists are in it; give another folder"),
        ("other", b"", ["--workers", "0"], "--workers 0: give 1 or more"),
        ("other", b"", ["--block-rows", "0"], "--block-rows 0: give 1 or more"),
        ("other", b"", ["--metric", "chrf", "--tokenize", "zh"], "--tokenize goes with --metric sentence-bleu"),
        ("other", b"", ["--metric", "chrf", "--smooth-method", "exp"], "--smooth-method goes with"),
        ("other", b"", ["--source-lang", "en"], "--target-lang name the languages of a data-bin as --reference; leave"),
    ],
)
def test_a_mistake_is_one_line(
    name: str, content: bytes | None, options: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lists(tmp_path, 5, 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        select(tmp_path, *options)
    assert not (tmp_path / "out").exists()


def test_again_does_nothing_and_other_settings_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_lists(tmp_path, 30, 3)
    output = select(tmp_path, "--block-rows", 10)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    with caplog.at_level(logging.INFO):
        select(tmp_path, "--block-rows", 10, "--workers", 1)
    assert "nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    with pytest.raises(UserError, match=r"out has other settings than this selection: similarity\.metric is sent"):
        select(tmp_path, "--block-rows", 10, "--metric", "chrf")
    (tmp_path / "gold.txt").write_text("other\n" * 30)
    with pytest.raises(UserError, match=r"reference\.text is"):
        select(tmp_path, "--block-rows", 10)


def test_what_is_lost_is_made_again_and_what_is_damaged_is_told(tmp_path: Path) -> None:
    write_lists(tmp_path, 30, 3)
    output = select(tmp_path, "--block-rows", 10)
    whole = {name: (output / name).read_bytes() for name in ("selected.txt", "report.json", "signature.json")}
    (output / "selected.txt").write_text("cut")
    (output / "parts" / "00001.tsv").unlink()
    kept = (output / "parts" / "00002.tsv").stat().st_mtime_ns
    select(tmp_path, "--block-rows", 10)
    assert {name: (output / name).read_bytes() for name in whole} == whole
    assert (output / "parts" / "00002.tsv").stat().st_mtime_ns == kept
    (output / "report.json").unlink()
    for damage in ("1\t2.0\t3.0\t1\tx\n", "1\tx\n" * 10):
        (output / "parts" / "00002.tsv").write_text(damage)
        with pytest.raises(UserError, match=r"00002\.tsv: .*; delete it and run the selection again"):
            select(tmp_path, "--block-rows", 10)


def test_the_function_returns_the_report(tmp_path: Path) -> None:
    write_lists(tmp_path, 30, 3)
    words = (tmp_path / "lists.nbest.tsv", tmp_path / "gold.txt", tmp_path / "out", Similarity("chrf"))
    report = select_function(*words, workers=1)
    assert report == read_json(tmp_path / "out" / "report.json")
    assert report["rows"] == 30 and report["metric"].startswith("nrefs:1|case:mixed|eff:yes|nc:6")
    assert select_function(*words) == report


def test_the_files_are_where_older_versions_put_them(tmp_path: Path) -> None:
    write_lists(tmp_path, 30, 3)
    output = select(tmp_path, "--block-rows", 10)
    names = ["parts", *(f"parts/0000{number}.tsv" for number in range(3)), "parts/signature.json"]
    names += ["report.json", "selected.txt", "signature.json"]
    assert sorted(str(path.relative_to(output)) for path in output.rglob("*")) == sorted(names)
    settings = read_json(output / "parts" / "signature.json")
    assert list(settings) == ["nbest", "reference", "subset", "rows", "similarity", "block_rows"]
    bleu = {"metric": "sentence-bleu", "post_process": "sentencepiece", "tokenize": "13a", "smooth_method": "exp"}
    assert settings["similarity"] == bleu
    fields = (output / "parts" / "00001.tsv").read_text().splitlines()[0].split("\t")
    assert len(fields) == 5 and repr(float(fields[1])) == fields[1] and repr(float(fields[2])) == fields[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc which processes are there")
def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    write_lists(tmp_path, 2000, 8)
    options = ["--block-rows", "20", "--workers", "2"]
    words = ["--nbest", tmp_path / "lists.nbest.tsv", "--reference", tmp_path / "gold.txt", "--output", tmp_path / "x"]
    command = [str(BIN / "fairseq-kd"), "select", *map(str, words), *options]
    # Alone: its workers follow it.
    kill(command, Moment(files_there(tmp_path, "x/parts/*.tsv", 10)), forked=False, alone=True)
    assert not (tmp_path / "x" / "signature.json").exists()
    select(tmp_path, *options, output="x")
    select(tmp_path, "--block-rows", 20, output="unbroken")
    for path in (tmp_path / "unbroken").rglob("*.*"):
        assert (tmp_path / "x" / path.relative_to(tmp_path / "unbroken")).read_bytes() == path.read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_list_is_never_in_memory(tmp_path: Path) -> None:
    write_lists(tmp_path, 4000, 10)
    tracemalloc.start()
    nbest = check_nbest(tmp_path / "lists.nbest.tsv", 4000, 100)
    assert sum(len(candidates) for block in range(40) for candidates in nbest.lists(block, 100)) == 40000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (tmp_path / "lists.nbest.tsv").stat().st_size / 5


def test_sums_are_those_of_fsum_in_little_memory() -> None:
    draw = np.random.default_rng(5)
    values = (draw.normal(size=5000) * 10.0 ** draw.integers(-12, 12, 5000)).tolist()
    found = ExactSum()
    for value in values:
        found.add(value)
    naive = functools.reduce(operator.add, values)  # sum() of Python 3.12 corrects its own rounding
    assert found.total == math.fsum(values) != naive
    assert len(found.parts) < 12
