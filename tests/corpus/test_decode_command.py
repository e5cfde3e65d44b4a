"""Decoding with a real model: against fairseq-generate, in shards, and killed on the way."""

import hashlib
import json
import logging
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fairseq_kd import cli
from fairseq_kd.corpus.distilled.decode import decode as decode_function
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.interface import NOT_TRANSLATED
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Shard
from fairseq_kd.storage.structured import read_json
from tests.support.commands import BIN, PLUGIN, ROOT, Run, environment
from tests.support.corpora import binarise
from tests.support.files import contents
from tests.support.kills import Moment, files_there, kill_and_run_again

pytestmark = pytest.mark.usefixtures("one_thread")
SCRIPT = ROOT / "scripts" / "generate_distilled_corpus.sh"
BOTH = pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])


def decode_words(model: Path | str, data: Path, output: Path, *options: object) -> list[str]:
    return ["decode", *map(str, ("--model", model, "--data", data, "--output", output, "--beam", 3, *options))]


def decode(*words: object) -> None:
    cli.main(decode_words(*words))


IN_BLOCKS = ("--block-rows", 20, "--nbest", 2)


@pytest.fixture(scope="module")
def unbroken(one_thread: None, tiny_corpus: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training rows decoded at one go by the default engine, in 15 blocks."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    decode(tiny_teacher, tiny_corpus, output, *IN_BLOCKS)
    return output


@pytest.mark.parametrize("ensemble", [False, True])
def test_the_translations_are_those_of_fairseq_generate(
    ensemble: bool, tiny_corpus: Path, tiny_teacher: Path, run: Run, tmp_path: Path
) -> None:
    other = tiny_teacher.with_name("checkpoint_best.pt")
    model = f"{tiny_teacher}:{other}" if ensemble else tiny_teacher
    decode(model, tiny_corpus, tmp_path, "--subset", "test", "--nbest", 2, "--max-len-b", 8, "--engine", "fairseq")
    words = ["fairseq-generate", tiny_corpus, "--user-dir", PLUGIN, "--path", model, "--gen-subset", "test", "--cpu"]
    words += ["--beam", "3", "--nbest", "2", "--max-len-b", "8", "--max-tokens", "400"]
    # With its default of 8, fairseq drops the rows of a split that no multiple of 8 holds.
    words += ["--required-batch-size-multiple", "1"]
    printed = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", run(*words).stdout, re.MULTILINE)
    expected = [(int(row), text, float(score)) for row, score, text in sorted(printed, key=lambda found: int(found[0]))]
    lines = [line.split("\t") for line in (tmp_path / "test.nbest.tsv").read_text().splitlines()]
    assert [(int(row), text) for row, _, _, text in lines] == [found[:2] for found in expected]
    assert [float(line[2]) for line in lines] == pytest.approx([found[2] for found in expected], abs=2e-5)
    assert (tmp_path / "test.tgt").read_text().splitlines() == [text for _, text, _ in expected[::2]]
    assert len({text for _, text, _ in expected}) > 20


def test_the_sources_are_the_corpus(unbroken: Path, tiny_text: Path) -> None:
    assert (unbroken / "train.src").read_text() == (tiny_text / "train.src").read_text()


def test_killed_at_random_points_and_run_again_gives_the_same_bytes(
    unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    draw = random.Random(1)
    words = decode_words(tiny_teacher, tiny_corpus, tmp_path, *IN_BLOCKS)
    moments = [
        Moment(files_there(tmp_path, "parts/*.tsv", blocks), draw.random() * 0.02)
        for blocks in sorted(draw.sample(range(14), 2))
    ]
    kill_and_run_again([str(BIN / "fairseq-kd"), *words], moments, forked=False)
    assert contents(tmp_path) == contents(unbroken)


def test_the_function_decodes_shares_and_returns_the_signature(
    unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    arguments = (str(tiny_teacher), tiny_corpus, tmp_path, DecodingOptions(beam=3, nbest=2))
    for number in (0, 1):
        assert decode_function(*arguments, shard=Shard(number, 2, 20)) is None
    assert not (tmp_path / "signature.json").exists()
    signature = decode_function(*arguments, shard=Shard(block_rows=20))
    assert signature == read_json(unbroken / "signature.json")
    assert contents(tmp_path) == contents(unbroken)
    assert decode_function(*arguments, shard=Shard(block_rows=20)) == signature


@BOTH
def test_shards_merge_to_the_same_bytes(engine: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    output, options = tmp_path / "out", (*IN_BLOCKS, "--max-len-b", 9, "--engine", engine)
    decode(tiny_teacher, tiny_corpus, tmp_path / "one", *options)
    for shard in (2, 0):
        decode(tiny_teacher, tiny_corpus, output, *options, "--shards", 3, "--shard", shard)
    with pytest.raises(UserError, match="5 of 15 blocks are missing: 1, 4, 7, 10, 13;"):
        cli.main(["merge", str(output)])
    decode(tiny_teacher, tiny_corpus, output, *options, "--shards", 3, "--shard", 1)
    assert [path.name for path in output.iterdir()] == ["parts"]
    cli.main(["merge", str(output)])
    assert contents(output) == contents(tmp_path / "one")


def test_again_does_nothing_and_other_settings_are_refused(
    unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    shutil.copytree(unbroken, output)
    with caplog.at_level(logging.INFO):
        decode(tiny_teacher, tiny_corpus, output, *IN_BLOCKS)
    assert "nothing to do" in caplog.text
    with pytest.raises(UserError, match=r"options\.beam is 3 there, 4 here"):
        decode(tiny_teacher, tiny_corpus, output, *IN_BLOCKS, "--beam", 4)
    with pytest.raises(UserError, match=r"engine is ctranslate2 there, fairseq here"):
        decode(tiny_teacher, tiny_corpus, output, *IN_BLOCKS, "--engine", "fairseq")
    with pytest.raises(UserError, match=r"precision is float32 there, int8 here"):
        decode(tiny_teacher, tiny_corpus, output, *IN_BLOCKS, "--precision", "int8")
    assert contents(output) == contents(unbroken)


@BOTH
def test_sources_that_cannot_be_translated_keep_their_lines(
    engine: str, tiny_text: Path, tiny_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "text"
    shutil.copytree(tiny_text, text)
    lines = (text / "test.src").read_text().splitlines()
    lines[3], lines[7] = "", " ".join(["s1"] * 1024)
    (text / "test.src").write_text("".join(line + "\n" for line in lines))
    dictionaries = [
        "--srcdict",
        tiny_teacher.parent / "dict.src.txt",
        "--tgtdict",
        tiny_teacher.parent / "dict.tgt.txt",
    ]
    data = binarise(text, tmp_path / "data-bin", *map(str, dictionaries))
    decode(tiny_teacher, data, tmp_path / "out", "--subset", "test", "--engine", engine)
    assert "1 empty and 1 too long sources were not translated" in caplog.text
    signature = read_json(tmp_path / "out" / "signature.json")
    assert signature["skipped"] == {"empty_source": [3], "too_long_source": [7]}
    assert (tmp_path / "out" / "test.src").read_text().splitlines() == lines
    translations = (tmp_path / "out" / "test.tgt").read_text().splitlines()
    assert [row for row, line in enumerate(translations) if not line] == [3, 7]


@BOTH
def test_a_batch_size_changes_no_translation_and_progress_counts_every_row(
    engine: str, tiny_corpus: Path, tiny_teacher: Path
) -> None:
    task = open_databin(tiny_corpus, "valid")
    loaded = choose_engine(engine, "float32", [str(tiny_teacher)], task).build()
    sources = [task.dataset("valid").src[row] for row in range(20)]
    sources[4] = sources[4][-1:]
    steps: list[int] = []
    many = loaded.translate(sources, DecodingOptions(beam=3, nbest=3), steps.append)
    assert sum(steps) == 20
    single = loaded.translate(sources, DecodingOptions(beam=3, nbest=3, max_tokens=1))
    assert [[h.tokens for h in found] for found in many] == [[h.tokens for h in found] for found in single]
    assert many[4] == [NOT_TRANSLATED] * 3


def script(*words: object) -> subprocess.CompletedProcess:
    """The stage script."""
    command = ["bash", str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


def test_the_script_makes_a_data_bin_of_distilled_rows(
    tiny_text: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    words = ("--model", tiny_teacher, "--data", tiny_corpus, f"--output={output}", "--beam", 2)
    done = script(*words, "--block-rows", 100, "--shards", 2)
    assert done.returncode == 0, done.stderr
    built = open_databin(output / "data-bin", "train")
    dictionary, pairs = built.target_dictionary, built.dataset("train")
    distilled = (output / "train.tgt").read_text().splitlines()
    assert [dictionary.string(pairs.tgt[row]) for row in range(len(pairs))] == distilled
    assert len(distilled) == 300 and distilled != (tiny_text / "train.tgt").read_text().splitlines()
    for gold in tiny_corpus.glob("[vtd]*"):
        if not gold.name.startswith("train."):
            assert (output / "data-bin" / gold.name).read_bytes() == gold.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (output / "data-bin").iterdir()}
    assert script(*words, "--block-rows", 100).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (output / "data-bin").iterdir()} == before
    refused = script(*words, "--block-rows", 50)
    assert refused.returncode == 1 and "block_rows is 100 there, 50 here" in refused.stderr


def test_the_script_takes_changed_splits_of_the_gold_data(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """The decode depends on the training split alone; valid and test are copies."""
    gold, made = tmp_path / "gold", tmp_path / "out" / "data-bin"
    shutil.copytree(tiny_corpus, gold)
    words = ["--model", tiny_teacher, "--data", gold, "--output", tmp_path / "out", "--max-len-b", 9, "--beam", 1]
    assert script(*words).returncode == 0
    trained = (made / "train.src-tgt.tgt.bin").read_bytes()
    for old in gold.glob("valid.*"):
        shutil.copy(gold / old.name.replace("valid", "test"), old)
    for new in gold.glob("test.*"):
        shutil.copy(new, gold / new.name.replace("test", "test1"))
    (gold / "checksums.json").unlink(missing_ok=True)
    assert script(*words).returncode == 0
    others = {path.name for path in gold.iterdir() if path.name.startswith(("valid", "test"))}
    assert {path.name for path in made.iterdir() if path.name.startswith(("valid", "test"))} == others
    assert all((made / name).read_bytes() == (gold / name).read_bytes() for name in others)
    assert (made / "train.src-tgt.tgt.bin").read_bytes() == trained
    for gone in gold.glob("test1.*"):
        gone.unlink()
    assert script(*words).returncode == 0 and not list(made.glob("test1.*"))
    as_an_earlier_version(tmp_path / "out", row=7)
    assert script(*words).returncode == 0
    assert len(open_databin(made, "train").dataset("train")) == 299


def as_an_earlier_version(distilled: Path, row: int) -> None:
    """Let the data-bin hold a row that the teacher did not translate, as those of version 0.1.0 do."""
    text, made = distilled / "train.tgt", distilled / "data-bin"
    lines = text.read_text().splitlines()
    lines[row] = ""
    text.write_text("".join(f"{line}\n" for line in lines))
    signature = read_json(distilled / "signature.json")
    signature["skipped"]["too_long_source"] = [row]
    signature["sha256"][text.name] = hashlib.sha256(text.read_bytes()).hexdigest()
    for folder in (distilled, made):
        (folder / "signature.json").write_text(json.dumps(signature))
    for name in ("left_out.json", "checksums.json"):
        (made / name).unlink()


@pytest.mark.slow
def test_the_script_twice_at_once(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--output", tmp_path / "out", "--block-rows", 100]
    command = ["bash", str(ROOT / "scripts" / "generate_distilled_corpus.sh"), *map(str, words)]
    both = [subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [one.communicate()[1] for one in both]
    assert 0 in [one.returncode for one in both]
    for one, stderr in zip(both, told, strict=True):
        last = stderr.splitlines()[-1]
        assert one.returncode == 0 or "another run is at work" in last, stderr
    assert script(*words).returncode == 0
    assert len(open_databin(tmp_path / "out" / "data-bin", "train").dataset("train")) == 300


def test_the_script_tells_mistakes_in_one_line(tmp_path: Path, tiny_corpus: Path) -> None:
    for words, told in (
        (("--model", "m.pt"), "give --model, --data and --output"),
        (("--model",), "--model needs a value"),
        (("--model", "m", "--data", "d", "--output", tmp_path, "--shards", "x"), "--shards x"),
        (("--model", "m", "--data", "d", "--output", tmp_path, "--subset", "test"), "--subset is chosen"),
        (("--model", "m", "--data", tiny_corpus, "--output", tmp_path / "o", "--shards", 2), "m: no such file"),
    ):
        done = script(*words)
        assert done.returncode == 1 and told in done.stderr.splitlines()[-1], (words, done.stderr)
        assert not (tmp_path / "o" / "data-bin").exists()
