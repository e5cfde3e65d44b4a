"""From a model to what a student learns of its n-best lists: decode, select, a data-bin, by command and by script."""

import shutil
import subprocess
from pathlib import Path

import pytest
import sacrebleu

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.support.commands import ROOT, environment
from tests.support.corpora import binarise

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 6
SEARCH = ("--beam", SIZE, "--nbest", SIZE, "--max-len-b", 20)
PLAIN = ("--post-process", "none")  # the tiny corpus has whole words


def call(verb: str, *words: object) -> None:
    cli.main([verb, *map(str, words)])


def decode(model: Path, data: Path, output: Path, *options: object) -> Path:
    call("decode", "--model", model, "--data", data, "--output", output, *SEARCH, *options)
    return output


def lists(folder: Path, subset: str, size: int) -> list[list[tuple[float, str]]]:
    lines = [line.split("\t") for line in (folder / f"{subset}.nbest.tsv").read_text().splitlines()]
    assert [[int(row), int(rank)] for row, rank, *_ in lines] == [[i // size, i % size + 1] for i in range(len(lines))]
    return [[(float(score), text) for _, _, score, text in lines[i : i + size]] for i in range(0, len(lines), size)]


def best(scored: list[tuple[float, str]], gold: str) -> str:
    return max(scored, key=lambda one: (sacrebleu.sentence_bleu(one[1], [gold]).score, one[0]))[1]


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_decode_then_select(
    engine: str, tiny_text: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    decoded = decode(tiny_teacher, tiny_corpus, tmp_path / "decoded", "--subset", "test", "--engine", engine)
    words = ["--nbest", decoded / "test.nbest.tsv", *PLAIN]
    call("select", *words, "--reference", tiny_corpus, "--output", tmp_path / "of-data-bin", "--block-rows", 15)
    call("select", *words, "--reference", tiny_text / "test.tgt", "--output", tmp_path / "of-text")
    gold = (tiny_text / "test.tgt").read_text().splitlines()
    chosen = (tmp_path / "of-data-bin" / "test.tgt").read_text().splitlines()
    assert chosen == [best(scored, line) for scored, line in zip(lists(decoded, "test", SIZE), gold, strict=True)]
    assert (tmp_path / "of-text" / "test.tgt").read_text().splitlines() == chosen
    assert (tmp_path / "of-data-bin" / "test.src").read_bytes() == (tiny_text / "test.src").read_bytes()
    report, signature = (read_json(tmp_path / "of-data-bin" / f"{name}.json") for name in ("report", "signature"))
    assert report["gain"] > 1 and len(report["ranks"]) > 2 and sum(report["ranks"].values()) == 40
    assert signature["decode"]["engine"] == engine and (signature["source"], signature["target"]) == ("src", "tgt")


def test_another_gold_data_bin_is_noticed(tiny_corpus: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_corpus, tmp_path / "data")
    nbest, output = tmp_path / "test.nbest.tsv", tmp_path / "out"
    nbest.write_text("".join(f"{row}\t1\t-1\tt1 t2\n" for row in range(40)))
    call("select", "--nbest", nbest, "--reference", data, *PLAIN, "--output", output)
    for ending in ("bin", "idx"):
        shutil.copy(data / f"valid.src-tgt.tgt.{ending}", data / f"test.src-tgt.tgt.{ending}")
    with pytest.raises(UserError, match="out has other settings than this selection"):
        call("select", "--nbest", nbest, "--reference", data, *PLAIN, "--output", output)


def test_a_list_that_is_not_the_decodes_is_refused(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    decoded = decode(tiny_teacher, tiny_corpus, tmp_path / "decoded", "--subset", "test")
    nbest = decoded / "test.nbest.tsv"
    nbest.write_text(nbest.read_text().replace("t1", "t2", 1))
    with pytest.raises(UserError, match=r"test\.nbest\.tsv: it has changed since signature.json"):
        call("select", "--nbest", nbest, "--reference", tiny_corpus, *PLAIN, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_symbols_in_the_gold_target_are_told(
    tiny_text: Path, tiny_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_text, tmp_path / "text")
    gold = (tiny_text / "test.tgt").read_text().splitlines()
    (tmp_path / "text" / "test.tgt").write_text("".join(f"{line}\n" for line in [*gold[:3], "new word", *gold[4:]]))
    known = str(tiny_teacher.parent / "dict.src.txt")
    data = binarise(tmp_path / "text", tmp_path / "data-bin", "--srcdict", known, "--tgtdict", known)
    (tmp_path / "test.nbest.tsv").write_text("".join(f"{row}\t1\t-1\tt1 t2\n" for row in range(40)))
    call("select", "--nbest", tmp_path / "test.nbest.tsv", "--reference", data, *PLAIN, "--output", tmp_path / "out")
    assert "gold targets contain <unk> (first in row 3, from 0)" in caplog.text
    assert (tmp_path / "out" / "selected.txt").read_text() == "t1 t2\n" * 40


def script(*words: object, **variables: str) -> subprocess.CompletedProcess:
    """generate_distilled_corpus.sh --seq-inter."""
    command = ["bash", str(ROOT / "scripts" / "generate_distilled_corpus.sh"), "--seq-inter", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment() | variables)


def test_the_script_reads_threads_as_openmp_does(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """4,2 are the threads of nested loops; module files of clusters set such lists."""
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--output", tmp_path / "out", "--max-len-b", 5, *PLAIN]
    done = script(*words, "--beam", 2, OMP_NUM_THREADS="2,1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "data-bin").is_dir()


@pytest.mark.slow
def test_the_script_goes_from_decode_to_a_data_bin(
    tiny_text: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    output = tmp_path / "inter"
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--output", output, "--max-len-b", 20, *PLAIN]
    done = script(*words, "--shards", 2)
    assert done.returncode == 0, done.stderr
    gold = (tiny_text / "train.tgt").read_text().splitlines()
    chosen = (output / "train.tgt").read_text().splitlines()
    assert chosen == [
        best(scored, line) for scored, line in zip(lists(output / "nbest", "train", 35), gold, strict=True)
    ]
    assert chosen != (output / "nbest" / "train.tgt").read_text().splitlines()
    built = open_databin(output / "data-bin", "train")
    dictionary, pairs = built.target_dictionary, built.dataset("train")
    assert [dictionary.string(pairs.tgt[row]) for row in range(len(pairs))] == chosen
    assert (output / "data-bin" / "signature.json").read_bytes() == (output / "signature.json").read_bytes()

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file() and path.name != "lock"}
    again = script(*words)
    assert again.returncode == 0 and "nothing to do" in again.stderr
    assert {
        path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file() and path.name != "lock"
    } == before


def test_the_script_refuses_a_folder_with_another_corpus(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "parts").mkdir(parents=True)
    done = script("--model", tiny_teacher, "--data", tiny_corpus, "--output", tmp_path / "out")
    assert done.returncode == 1 and "out holds another corpus; give another --output" in done.stderr
    assert not (tmp_path / "out" / "nbest").exists()


@pytest.mark.parametrize("option", ["--nbest", "--beam"])
def test_the_script_refuses_a_list_of_one_before_it_decodes(option: str, tmp_path: Path) -> None:
    done = script("--model", "model.pt", "--data", "data-bin", "--output", tmp_path / "out", option, "1")
    assert done.returncode == 1 and "--nbest 1: --seq-inter chooses from 2 or more" in done.stderr
    assert not (tmp_path / "out").exists()
