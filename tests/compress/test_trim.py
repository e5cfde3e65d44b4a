"""`fairseq-kd trim`: the kept symbols' probabilities are the model's own, renormalised."""

import gzip
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.compress.trim import trim
from fairseq_kd.data.databins.databin import read_dictionary, translation_task
from fairseq_kd.data.databins.files import UNNAMED
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models, read_checkpoint
from fairseq_kd.storage.structured import read_json
from tests.support.commands import generated_rows
from tests.support.corpora import binarise
from tests.support.subwords import cut, write_syllables
from tests.support.training import train_model

MODELS: dict[str, tuple[str, bool, tuple[str, ...]]] = {
    "one table": ("transformer", True, ("--share-all-embeddings",)),
    "decoder's in and out": ("transformer", False, ("--share-decoder-input-output-embed",)),
    "three tables": ("transformer", False, ()),
    "lstm": ("lstm", False, ("--decoder-out-embed-dim", "12")),
    "fconv": ("fconv", False, ()),
    "lightconv": ("lightconv", True, ()),
}


def kept_word(word: str) -> bool:
    return int(word[1:]) < 12


@pytest.fixture(scope="module")
def some_text(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of the test split whose words are all among the first twelve."""
    folder = tmp_path_factory.mktemp("some")
    rows = zip(*((tiny_text / f"train.{side}").read_text().splitlines() for side in ("src", "tgt")), strict=True)
    chosen = [pair for pair in rows if all(map(kept_word, pair[0].split()))]
    assert len(chosen) >= 60
    for place, side in enumerate(("src", "tgt")):
        (folder / f"some.{side}").write_text("".join(pair[place] + "\n" for pair in chosen[:56]))
    return folder


@pytest.fixture(scope="module")
def separate(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data-bin with a dictionary for each side."""
    return binarise(tiny_text, tmp_path_factory.mktemp("separate") / "data-bin")


def dictionaries(folder: Path) -> tuple[Any, Any]:
    return read_dictionary(folder / "dict.src.txt"), read_dictionary(folder / "dict.tgt.txt")


def load(path: Path, folder: Path) -> tuple[Any, Any]:
    """A model in float64, and the task with its dictionaries."""
    task = translation_task("", "src", "tgt", dictionaries(folder))
    (model,) = build_models([path], task)
    return model.double(), task


def logits(model: Any, task: Any, source: str, target: str) -> torch.Tensor:
    """(target length, vocabulary), teacher-forced."""
    src = task.source_dictionary.encode_line(source, add_if_not_exist=False).long()[None]
    out = task.target_dictionary.encode_line(target, add_if_not_exist=False).long()[None]
    previous = torch.cat([out[:, -1:], out[:, :-1]], dim=1)
    return model(src, torch.tensor([src.size(1)]), previous)[0][0]


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_the_models_own_renormalised(
    name: str, tiny_corpus: Path, separate: Path, some_text: Path, tmp_path: Path
) -> None:
    architecture, joined, options = MODELS[name]
    data = tiny_corpus if joined else separate
    model = train_model(data, tmp_path / "model", "--max-update", "2", *options, architecture=architecture)
    output = tmp_path / "trimmed"
    report = trim(model, [some_text / "some.src", some_text / "some.tgt"], output)
    before, after = load(model, data), load(output / "checkpoint.pt", output)
    kept = [before[1].target_dictionary.index(symbol) for symbol in after[1].target_dictionary.symbols]
    assert kept == sorted(kept) and kept[:4] == [0, 1, 2, 3] and len(kept) < len(before[1].target_dictionary) - 5
    if joined:
        assert (output / "dict.src.txt").read_bytes() == (output / "dict.tgt.txt").read_bytes()
    sources, targets = ((some_text / f"some.{side}").read_text().splitlines()[:8] for side in ("src", "tgt"))
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            whole = logits(*before, source, target).log_softmax(-1)
            mass = whole[:, kept].logsumexp(-1, keepdim=True)
            assert (mass < -1e-3).all()
            renormalised = logits(*after, source, target).log_softmax(-1)
            torch.testing.assert_close(renormalised, whole[:, kept] - mass, rtol=1e-11, atol=1e-11)
    counted = [sum(one.numel() for one in model.parameters()) for model in (before[0], after[0])]
    assert [report["parameters_before"], report["parameters"]] == counted and counted[1] < counted[0]
    assert report["symbols"]["tgt"] == len(before[1].target_dictionary) and report["kept"]["tgt"] == len(kept)


@pytest.fixture(scope="module")
def trimmed(tiny_teacher: Path, some_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trim") / "trimmed"
    words = ["--model", tiny_teacher, "--data", some_text / "some.src", some_text / "some.tgt", "--output", output]
    cli.main(["trim", *map(str, words)])
    return output


def test_greedy_translations_without_removed_symbols_stay(
    tiny_teacher: Path, trimmed: Path, some_text: Path, tmp_path: Path
) -> None:
    """The same text wherever the untrimmed model chose kept symbols alone."""
    sources = (some_text / "some.src").read_text().splitlines()
    known = set(dictionaries(trimmed)[1].symbols)
    found = []
    for path, folder in ((tiny_teacher, tiny_teacher.parent), (trimmed / "checkpoint.pt", trimmed)):
        task = translation_task("", "src", "tgt", dictionaries(folder))
        engine = FairseqEngine([str(path)], task, [read_checkpoint(path)])
        encoded = [task.source_dictionary.encode_line(row, add_if_not_exist=False).long() for row in sources]
        beams = engine.translate(encoded, DecodingOptions(beam=1, max_len_b=12))
        found.append([beam[0].tokens for beam in beams])
    same = [set(one.split()) <= known for one in found[0]]
    assert sum(same) >= 20
    assert [
        pair for pair, alike in zip(zip(*found, strict=True), same, strict=True) if alike and pair[0] != pair[1]
    ] == []


def test_the_command_and_what_it_writes(
    trimmed: Path, tiny_teacher: Path, some_text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(path.name for path in trimmed.iterdir()) == [
        *("checkpoint.pt", "dict.src.txt", "dict.tgt.txt", "trim.json"),
    ]
    report = read_json(trimmed / "trim.json")
    state = read_checkpoint(trimmed / "checkpoint.pt")
    assert "last_optimizer_state" not in state and state["cfg"].model.encoder_layers == 1
    before = {path: path.stat().st_mtime_ns for path in trimmed.iterdir()}
    words = ["--model", tiny_teacher, "--data", some_text / "some.src", some_text / "some.tgt", "--output", trimmed]
    cli.main(["trim", *map(str, words)])
    assert {path: path.stat().st_mtime_ns for path in trimmed.iterdir()} == before
    told = capsys.readouterr().out
    assert f"{report['parameters']:,} parameters of {report['parameters_before']:,}" in told and "tgt: " in told
    with pytest.raises(UserError, match="holds something else"):
        cli.main(["trim", *map(str, ["--model", tiny_teacher, "--data", some_text / "some.tgt", "--output", trimmed])])


def test_a_student_learns_from_it_word_by_word(trimmed: Path, some_text: Path, tmp_path: Path) -> None:
    """fairseq-preprocess with its dictionaries, then token_kd with it as the teacher."""
    for split in ("train", "valid", "test"):
        for side in ("src", "tgt"):
            shutil.copy(some_text / f"some.{side}", tmp_path / f"{split}.{side}")
    chosen = ["--srcdict", str(trimmed / "dict.src.txt"), "--tgtdict", str(trimmed / "dict.tgt.txt")]
    data = binarise(tmp_path, tmp_path / "data-bin", *chosen)
    kd = ["--task", "translation_kd", "--criterion", "token_kd", "--teacher-path", str(trimmed / "checkpoint.pt")]
    assert train_model(data, tmp_path / "student", *kd, "--max-update", "2").exists()
    assert generated_rows(data, trimmed / "checkpoint.pt") == 56


def test_a_data_bin_as_the_text(tiny_teacher: Path, some_text: Path, trimmed: Path, tmp_path: Path) -> None:
    """Its symbols are those of the text in all splits; a data-bin with other dictionaries is refused."""
    sides = [(some_text / f"some.{side}").read_text().splitlines(keepends=True) for side in ("src", "tgt")]
    for missing, split in (("s0", "train"), ("s1", "valid"), ("s2", "test")):
        pairs = [pair for pair in zip(*sides, strict=True) if missing not in pair[0].split()]
        for side, rows in zip(("src", "tgt"), zip(*pairs, strict=True), strict=True):
            (tmp_path / f"{split}.{side}").write_text("".join(rows))
    whole = str(tiny_teacher.parent / "dict.src.txt")
    data = binarise(tmp_path, tmp_path / "data-bin", "--srcdict", whole, "--tgtdict", whole)
    trim(tiny_teacher, [data], tmp_path / "trimmed")
    assert (tmp_path / "trimmed" / "dict.src.txt").read_bytes() == (trimmed / "dict.src.txt").read_bytes()
    with pytest.raises(UserError, match=r"its dictionary of src is not the model's: .* symbols against"):
        trim(tiny_teacher, [binarise(tmp_path, tmp_path / "other")], tmp_path / "again")


def test_other_dictionaries_or_languages_are_another_input(
    tiny_teacher: Path, some_text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run with a corrected --teacher-data is refused; one with equal dictionaries from elsewhere does nothing."""
    folders = [tmp_path / name for name in ("wrong", "right", "equal")]
    lines = (tiny_teacher.parent / "dict.src.txt").read_text().splitlines(keepends=True)
    for folder, content in zip(folders, (lines[::-1], lines, lines), strict=True):
        folder.mkdir()
        for side in ("src", "tgt"):
            (folder / f"dict.{side}.txt").write_text("".join(content))
    wrong, right, equal = folders

    def again(folder: Path, *languages: str) -> None:
        pair = (languages[0], languages[1]) if languages else UNNAMED
        text = [some_text / "some.src", some_text / "some.tgt"]
        trim(tiny_teacher, text, tmp_path / "trimmed", teacher_data=folder, languages=pair)

    again(wrong)
    again(wrong)
    assert "already trimmed from the same input; nothing to do" in caplog.text
    with pytest.raises(UserError, match="trimmed: holds something else"):
        again(right)
    shutil.rmtree(tmp_path / "trimmed")
    again(right)
    caplog.clear()
    again(equal)
    assert "already trimmed from the same input; nothing to do" in caplog.text
    with pytest.raises(UserError, match="trimmed: holds something else"):
        again(right, "tgt", "src")


def test_text_that_has_changed_is_another_input(tiny_teacher: Path, some_text: Path, tmp_path: Path) -> None:
    text = [Path(shutil.copy(some_text / f"some.{side}", tmp_path)) for side in ("src", "tgt")]
    trim(tiny_teacher, text, tmp_path / "trimmed")
    text[1].write_text(text[1].read_text() + "t20\n")
    with pytest.raises(UserError, match="trimmed: holds something else"):
        trim(tiny_teacher, text, tmp_path / "trimmed")


def test_one_named_language_counts(tiny_teacher: Path, some_text: Path, tmp_path: Path) -> None:
    """The other one is that of the data-bin."""
    text = [some_text / "some.src", some_text / "some.tgt"]
    assert trim(tiny_teacher, text, tmp_path / "out", languages=(None, "src"))["languages"] == ["tgt", "src"]
    with pytest.raises(UserError, match=r"--source-lang en: .* holds src-tgt"):
        trim(tiny_teacher, text, tmp_path / "other", languages=("en", None))
    state = torch.load(tiny_teacher, weights_only=True)
    state["cfg"]["task"] |= {"source_lang": "src", "target_lang": "tgt"}
    torch.save(state, tmp_path / "recorded.pt")
    with pytest.raises(UserError, match="tgt would be both languages: give --source-lang and --target-lang"):
        trim(tmp_path / "recorded.pt", text, tmp_path / "other", languages=("tgt", None))


def test_raw_text_with_the_models_sentencepiece(tmp_path: Path) -> None:
    """The restricted sentencepiece model cuts the text as before, and other text into kept pieces."""
    text = write_syllables(tmp_path / "text", {"train": 200, "valid": 10, "test": 10})
    data = cut(text, tmp_path, 90)
    model = train_model(data, tmp_path / "model", "--max-update", "1")
    (tmp_path / "few.txt").write_text("".join((text / "train.src").read_text().splitlines(keepends=True)[:4]))
    trim(model, [tmp_path / "few.txt"], tmp_path / "trimmed", spm_model=tmp_path / "spm.model")
    whole, few = load_spm(tmp_path / "spm.model"), load_spm(tmp_path / "trimmed" / "spm.model")
    known = read_dictionary(tmp_path / "trimmed" / "dict.src.txt")
    rows = (text / "train.src").read_text().splitlines()
    assert len(known) < len(read_dictionary(data / "dict.src.txt"))
    for row in rows[:4]:
        assert few.encode(row, out_type=str) == whole.encode(row, out_type=str)
    assert any(few.encode(row, out_type=str) != whole.encode(row, out_type=str) for row in rows)
    for row in rows:
        pieces = few.encode(row, out_type=str)
        assert all(piece in known for piece in pieces) and few.decode(pieces) == whole.decode(whole.encode(row))


def test_a_piece_that_one_side_uses_stays_in_both_dictionaries(tmp_path: Path) -> None:
    """Two dictionaries and one sentencepiece model: source text has no new <unk> for what the target's text uses."""
    text = write_syllables(tmp_path / "text", {"train": 200, "valid": 10, "test": 10})
    cut(text, tmp_path, 90)
    data = binarise(tmp_path / "subword", tmp_path / "separate")
    model = train_model(data, tmp_path / "model", "--max-update", "1")
    rows = (text / "train.src").read_text().splitlines(keepends=True)
    (tmp_path / "few.src").write_text("".join(rows[:2]))
    (tmp_path / "few.tgt").write_text("".join((text / "train.tgt").read_text().splitlines(keepends=True)[:40]))
    files = [tmp_path / "few.src", tmp_path / "few.tgt"]
    trim(model, files, tmp_path / "trimmed", spm_model=tmp_path / "spm.model")
    whole, few = dictionaries(data), dictionaries(tmp_path / "trimmed")
    assert set(whole[0].symbols) != set(whole[1].symbols) and len(few[0]) < len(whole[0])
    for side in (0, 1):
        missing = set(few[1 - side].symbols) & set(whole[side].symbols) - set(few[side].symbols)
        assert missing == set()
    spm = load_spm(tmp_path / "trimmed" / "spm.model")
    assert [piece for row in rows for piece in spm.encode(row.strip(), out_type=str) if piece not in few[0]] == []


@pytest.mark.parametrize("joined", [True, False])
def test_no_removed_piece_becomes_unk(joined: bool, tmp_path: Path) -> None:
    """Dictionaries of counted pieces lack characters, and each side lacks pieces of the other."""
    rows = {"train": 200, "valid": 10, "test": 10}
    text = write_syllables(tmp_path / "text", rows)
    others = ("bad", "ef", "igo", "lum", "an", "epi", "ros", "ut", "av", "eb")
    other = write_syllables(tmp_path / "other", rows, seed=2, syllables=others)
    for split in rows:
        shutil.copy(other / f"{split}.tgt", text)
    cut(text, tmp_path, 90)
    data = binarise(tmp_path / "subword", tmp_path / "counted", *(["--joined-dictionary"] if joined else []))
    model = train_model(data, tmp_path / "model", "--max-update", "1")
    for side in ("src", "tgt"):
        lines = (text / f"train.{side}").read_text().splitlines(keepends=True)
        (tmp_path / f"few.{side}").write_text("".join(lines[:5]))
    trim(model, [tmp_path / "few.src", tmp_path / "few.tgt"], tmp_path / "trimmed", spm_model=tmp_path / "spm.model")
    spm, known = load_spm(tmp_path / "trimmed" / "spm.model"), dictionaries(tmp_path / "trimmed")
    for side, whole, few in zip(("src", "tgt"), dictionaries(data), known, strict=True):
        assert len(few) < len(whole) - 5
        lines = (text / f"train.{side}").read_text().splitlines()
        assert [piece for line in lines for piece in spm.encode(line, out_type=str) if piece not in few] == []
    assert (known[0].symbols == known[1].symbols) == joined


def adaptive(corpus: Path, folder: Path, text: Path) -> dict[str, Any]:
    options = ("--adaptive-softmax-cutoff", "8,16", "--criterion", "adaptive_loss", "--ddp-backend", "legacy_ddp")
    return {"model": train_model(corpus, folder / "adaptive", "--max-update", "1", *options)}


def named(name: str, content: str) -> Callable[[Path, Path, Path], dict[str, Any]]:
    def make(corpus: Path, folder: Path, text: Path) -> dict[str, Any]:
        (folder / name).write_text(content)
        return {"data": [folder / name]}

    return make


def fewer(corpus: Path, folder: Path, text: Path) -> dict[str, Any]:
    (folder / "dicts").mkdir()
    for side in ("src", "tgt"):
        lines = (corpus / f"dict.{side}.txt").read_text().splitlines(keepends=True)
        (folder / "dicts" / f"dict.{side}.txt").write_text("".join(lines[:-1]))
    return {"teacher_data": folder / "dicts"}


REFUSED: dict[str, tuple[Callable[[Path, Path, Path], dict[str, Any]], str]] = {
    "adaptive softmax": (adaptive, "its adaptive softmax sorts symbols into clusters by frequency"),
    "raw text": (
        named("raw.src", "Good morning s1\n"),
        r"raw.src: 66.7% of its tokens are not in the model's dictionary",
    ),
    "no text": (lambda *_: {"data": [Path(__file__).with_name("none.src")]}, "none.src: no such file or folder"),
    "other dictionaries": (fewer, r"encoder.embed_tokens has \d+ rows, .*dict.src.txt has \d+ symbols"),
    "no dictionaries": (lambda c, folder, t: {"teacher_data": folder}, "dict.src.txt and dict.tgt.txt not found in"),
    "no model": (lambda c, folder, t: {"model": folder / "none.pt"}, "none.pt: no such file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trimmed_is_one_line(
    name: str, tiny_corpus: Path, tiny_teacher: Path, some_text: Path, tmp_path: Path
) -> None:
    make, told = REFUSED[name]
    words = {"model": tiny_teacher, "data": [some_text / "some.src"], **make(tiny_corpus, tmp_path, some_text)}
    with pytest.raises(UserError, match=told):
        trim(output=tmp_path / "out", **words)
    assert not (tmp_path / "out").exists()


def test_both_sides_need_text(
    separate: Path, tiny_teacher: Path, tiny_corpus: Path, some_text: Path, tmp_path: Path
) -> None:
    """One dictionary for both sides, too: trimmed to the source's words, a model could not write the target."""
    model = train_model(separate, tmp_path / "model", "--max-update", "1")
    told = "no text in tgt, so the trimmed model would lack its words; add text in tgt"
    for path in (model, tiny_teacher):
        with pytest.raises(UserError, match=told):
            trim(path, [some_text / "some.src"], tmp_path / "out")
    only_source = tmp_path / "only-source"
    only_source.mkdir()
    for name in ("dict.src.txt", "dict.tgt.txt", "test.src-tgt.src.bin", "test.src-tgt.src.idx"):
        shutil.copy(tiny_corpus / name, only_source)
    with pytest.raises(UserError, match=told):
        trim(tiny_teacher, [only_source], tmp_path / "out")
    joined = tmp_path / "both.txt"
    joined.write_text("".join((some_text / f"some.{side}").read_text() for side in ("src", "tgt")))
    assert trim(tiny_teacher, [joined], tmp_path / "both")["kept"]["tgt"] > 4
    shutil.copy(some_text / "some.src", tmp_path / "some.txt")
    with pytest.raises(UserError, match=r"some.txt: its name tells no language; end it with .src or .tgt"):
        trim(model, [tmp_path / "some.txt"], tmp_path / "out")


def test_the_language_in_the_name_of_a_compressed_file(separate: Path, some_text: Path, tmp_path: Path) -> None:
    """The same result as of the plain files."""
    model = train_model(separate, tmp_path / "model", "--max-update", "1")
    plain = [some_text / "some.src", some_text / "some.tgt"]
    trim(model, plain, tmp_path / "plain")
    packed = [tmp_path / "some.src.gz", tmp_path / "some.tgt.xz"]
    for opened, path, text in zip((gzip.open, lzma.open), packed, plain, strict=True):
        with opened(path, "wb") as file:
            file.write(text.read_bytes())
    trim(model, packed, tmp_path / "packed")
    for name in ("dict.src.txt", "dict.tgt.txt"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
