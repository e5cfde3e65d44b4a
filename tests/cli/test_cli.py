"""`fairseq-kd`: help, one line for every mistake, and a README that names only what exists."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.cli.command_line import VERBS, build_parser
from fairseq_kd.errors import UserError
from tests.support.commands import ROOT, run_command

Refuse = Callable[..., str]
MORE = {"cache": ("--top-k", 2)}
"""What a verb asks for beside a model, data and an output."""


def module_command(*words: str | Path):
    """`python -m fairseq_kd.cli` in a process of its own."""
    return run_command("fairseq-kd", *words, check=False)


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Run a verb in this process; the one line with which it refuses."""

    def run(*words: str | Path) -> str:
        with pytest.raises(UserError) as caught:
            cli.main([str(word) for word in words])
        line = str(caught.value)
        assert line.startswith("fairseq_kd: error: ") and "\n" not in line
        assert capsys.readouterr().out == ""
        return line

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file that looks like a checkpoint for as long as nobody builds its model."""
    torch.save({"model": {}, "args": None, "cfg": {"model": {}}}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.fixture
def data_bin(tmp_path: Path) -> Path:
    """Dictionaries, and a split train whose files are damaged."""
    folder = tmp_path / "data-bin"
    folder.mkdir()
    for language in ("src", "tgt"):
        (folder / f"dict.{language}.txt").write_text("a 1\n")
        for ending in ("idx", "bin"):
            (folder / f"train.src-tgt.{language}.{ending}").touch()
    return folder


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_lists_all_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of([], capsys)
    for verb in VERBS:
        assert re.search(rf"^ +{verb}\b", text, re.MULTILINE), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of([verb], capsys)
    assert f"usage: fairseq-kd {verb}" in text
    assert VERBS[verb][1:] in " ".join(text.split())


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    listed = module_command("--help")
    assert listed.returncode == 0 and all(verb in listed.stdout for verb in VERBS)
    refused = module_command("merge", tmp_path)
    assert refused.returncode == 1 and refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("fairseq_kd: error: ") and str(tmp_path) in line


@pytest.mark.parametrize("words", [[], ["no-such-verb"], ["decode"], ["table"], ["user-dir", "--no-such-option"]])
def test_wrong_usage_has_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert re.match(r"fairseq-kd.*: error: ", capsys.readouterr().err.splitlines()[-1])


REPLACED = {("evaluate", "--beam"), ("evaluate", "--reference")}
"""Lists of which the last one counts: an experiment's own options stand behind those of the workflow."""


def test_a_list_that_is_given_twice_is_one_list() -> None:
    """`trim --data a --data b` would else lose a, and with it the symbols of its language."""
    parser = build_parser()
    verbs = next(action.choices for action in parser._actions if action.dest == "verb")
    lists = {
        (verb, action.option_strings[-1]): action
        for verb, one in verbs.items()
        for action in one._actions
        if action.nargs in ("+", "*") and action.option_strings
    }
    assert ("trim", "--data") in lists and set(lists) > REPLACED
    kept = {key for key, action in lists.items() if not isinstance(action, argparse._ExtendAction)}
    assert kept == REPLACED
    words = ["trim", "--model", "m", "--output", "o", "--data", "a", "b", "--data=c"]
    assert [str(path) for path in parser.parse_args(words).data] == ["a", "b", "c"]
    table = ["table", "x", "--output", "o", "--pruning", "a", "--pruning", "b"]
    assert [parser.parse_args(table).pruning, parser.parse_args(table).pruning] == [["a", "b"]] * 2


def test_synthetic_without_rows(tmp_path: Path, refuse: Refuse) -> None:
    assert "--train 0" in refuse("synthetic", "--output", tmp_path / "out", "--train", 0)
    assert not (tmp_path / "out").exists()


def test_prepare_of_missing_text(tmp_path: Path, refuse: Refuse) -> None:
    splits = [word for split in ("train", "valid", "test") for word in (f"--{split}", tmp_path / split)]
    languages = ["--source-lang", "src", "--target-lang", "tgt", "--vocab-size", 10]
    line = refuse("prepare", *languages, *splits, "--output", tmp_path / "out")
    assert f"{tmp_path}/train.src: no such file" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["decode", "evaluate", "cache"])
def test_a_missing_or_damaged_data_bin(verb: str, model: Path, data_bin: Path, tmp_path: Path, refuse: Refuse) -> None:
    def refused(data: Path, subset: str) -> str:
        words = [verb, "--model", model, "--data", data, "--subset", subset, "--output", tmp_path / "out"]
        return refuse(*words, *MORE.get(verb, ()))

    assert f"data-bin {tmp_path}/none: no such folder" in refused(tmp_path / "none", "train")
    (tmp_path / "empty").mkdir()
    assert f"data-bin {tmp_path}/empty: no file named like" in refused(tmp_path / "empty", "train")
    assert "no subset 'nope' for src-tgt; it has: train" in refused(data_bin, "nope")
    assert "'train' cannot be read" in refused(data_bin, "train")
    (data_bin / "dict.tgt.txt").unlink()
    assert f"dictionary {data_bin}/dict.tgt.txt: no such file" in refused(data_bin, "train")
    assert not (tmp_path / "out").exists()


def test_a_missing_or_damaged_model(tiny_corpus: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 and no more")
    for verb in ("decode", "evaluate", "cache"):
        words = [
            verb,
            *MORE.get(verb, ()),
            "--data",
            tiny_corpus,
            "--subset",
            "test",
            "--output",
            tmp_path / "out",
            "--model",
        ]
        assert f"model {tmp_path}/none.pt: no such file" in refuse(*words, tmp_path / "none.pt")
        assert f"model {tmp_path}/broken.pt: cut short" in refuse(*words, tmp_path / "broken.pt")
    assert not (tmp_path / "out").exists()


def test_cache_options_out_of_range(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, refuse: Refuse) -> None:
    words = ["cache", "--model", tiny_teacher, "--data", tiny_corpus, "--output", tmp_path / "out", "--top-k"]
    size = len((tiny_corpus / "dict.tgt.txt").read_text().splitlines()) + 4
    for k in (0, -1, size - 1, size):
        assert f"--top-k {k}: give at least 1 and less than {size - 1}" in refuse(*words, k)
    for option, value in (("--temperature", 0), ("--temperature", "nan"), ("--max-tokens", 0), ("--block-rows", 0)):
        assert f"{option} {value}" in refuse(*words, 2, option, value)
    assert "--shard 2 --shards 2" in refuse(*words, 2, "--shards", 2, "--shard", 2)
    assert not (tmp_path / "out").exists()


def test_merge_of_what_no_decode_wrote(tmp_path: Path, refuse: Refuse) -> None:
    assert "give the --output of fairseq-kd decode" in refuse("merge", tmp_path)
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        assert str(tmp_path / name) in refuse("merge", tmp_path / name)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"beams": {}}', "\0\udcff"])
def test_table_of_what_evaluate_did_not_write(content: str, tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content, errors="surrogateescape")
    assert f"{path}: no result of fairseq-kd evaluate" in refuse("table", path, "--output", tmp_path / "out")
    for bad in (tmp_path / "none.json", tmp_path):
        assert f"{bad}: cannot be read" in refuse("table", bad, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_that_cannot_be_made(place: str, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "file").touch()
    rows = ["--train", 5, "--valid", 5, "--test", 5]
    assert str(tmp_path / "file") in refuse("synthetic", "--output", tmp_path / place, *rows)
    cli.main(["synthetic", "--output", str(tmp_path / "text"), "--train", "50", "--valid", "5", "--test", "5"])
    splits = [word for split in ("train", "valid", "test") for word in (f"--{split}", tmp_path / "text" / split)]
    languages = ["--source-lang", "src", "--target-lang", "tgt", "--vocab-size", 60]
    assert str(tmp_path / "file") in refuse("prepare", *languages, *splits, "--output", tmp_path / place)


def test_an_output_file_that_is_a_folder(tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "train.src").mkdir()
    told = refuse("synthetic", "--output", tmp_path, "--train", 50, "--valid", 5, "--test", 5)
    assert f"{tmp_path}/train.src: Is a directory" in told


def test_last_checkpoint_of_a_missing_folder_is_an_error(tmp_path: Path, refuse: Refuse) -> None:
    assert f"{tmp_path}/missing: no such folder" in refuse("last-checkpoint", tmp_path / "missing")


def test_last_checkpoint_of_an_empty_folder_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["last-checkpoint", str(tmp_path)])
    assert capsys.readouterr().out == ""


def test_user_dir_is_the_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["user-dir"])
    assert Path(capsys.readouterr().out.strip()) == ROOT / "fairseq_kd"
