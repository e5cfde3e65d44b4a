"""`fairseq-kd init-student`: what it writes is an ordinary checkpoint, decoded and trained on by fairseq itself."""

from pathlib import Path

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_dictionaries
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models, read_checkpoint
from fairseq_kd.networks.parameters import count_parameters, is_parameter
from tests.support.commands import PLUGIN, generated_rows, run_command
from tests.support.training import train_model, train_with_hydra

SHAPES = {
    "tied": ("--encoder-layers", "3", "--decoder-layers", "3", "--share-all-embeddings"),
    "pre-norm": (
        *("--encoder-layers", "4", "--decoder-layers", "3", "--encoder-normalize-before", "--decoder-normalize-before"),
        *("--encoder-learned-pos", "--layernorm-embedding", "--decoder-ffn-embed-dim", "24"),
    ),
}


@pytest.fixture(scope="module", params=SHAPES)
def teacher(request: pytest.FixtureRequest, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    return train_model(tiny_corpus, folder, "--max-update", "30", "--lr", "0.003", *SHAPES[request.param])


def init_student(capsys: pytest.CaptureFixture[str], teacher: Path, output: Path, *options: object) -> list[str]:
    """The options it prints for fairseq-train."""
    cli.main(["init-student", "--teacher", str(teacher), "--output", str(output), *map(str, options)])
    return capsys.readouterr().out.split()


def test_a_buffer_of_the_adaptive_softmax_is_no_parameter(
    tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--adaptive-softmax-cutoff", "8,16", "--criterion", "adaptive_loss", "--ddp-backend", "legacy_ddp")
    teacher = train_model(tiny_corpus, tmp_path / "teacher", "--max-update", "1", *options)
    caplog.set_level("INFO")
    init_student(capsys, teacher, tmp_path / "student.pt")
    size = count_parameters(build_models([teacher], open_dictionaries(tiny_corpus))[0])
    assert f"student.pt: {size:,} parameters of the teacher's {size:,}" in caplog.text


def train_from(student: Path, data: Path, save_dir: Path, shape: list[str]) -> Path:
    """Two updates with a learning rate of 0; the last checkpoint."""
    common = "--cpu --optimizer adam --lr 0 --max-tokens 400 --max-update 2 --num-workers 0 --data-buffer-size 0"
    words = ("--finetune-from-model", student, "--save-dir", save_dir, "--user-dir", PLUGIN)
    run_command("fairseq-train", data, *words, *common.split(), *shape)
    return save_dir / "checkpoint_last.pt"


def test_layers_and_all_else_are_the_teachers(
    teacher: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    student = tmp_path / "student.pt"
    caplog.set_level("INFO")
    init_student(capsys, teacher, student, "--encoder-layers", 2, "--decoder-layers", 1)
    before, after = read_checkpoint(teacher), read_checkpoint(student)
    last = before["cfg"].model.encoder_layers - 1
    source = {"encoder.layers.0.": "encoder.layers.0.", "encoder.layers.1.": f"encoder.layers.{last}."}
    for name, weight in after["model"].items():
        prefix = next((prefix for prefix in source if name.startswith(prefix)), "")
        origin = source.get(prefix, "") + name.removeprefix(prefix)
        torch.testing.assert_close(weight, before["model"][origin], rtol=0, atol=0)
    others = {name for name in before["model"] if ".layers." not in name}
    assert others == {name for name in after["model"] if ".layers." not in name}
    changed = {name for name, value in vars(after["cfg"].model).items() if vars(before["cfg"].model)[name] != value}
    assert changed == {"encoder_layers", "decoder_layers"}
    assert (after["cfg"].model.encoder_layers, after["cfg"].model.decoder_layers) == (2, 1)
    sizes = [count_parameters(build_models([path], open_dictionaries(tiny_corpus))[0]) for path in (student, teacher)]
    assert f"{sizes[0]:,} parameters of the teacher's {sizes[1]:,}" in caplog.text
    assert f"encoder: layers [0, {last}] of the teacher's 0 to {last}" in caplog.text

    again = tmp_path / "elsewhere" / "again.pt"
    init_student(capsys, teacher, again, "--encoder-layers", 2, "--decoder-layers", 1)
    assert again.read_bytes() == student.read_bytes()


def test_it_is_decoded_and_trained_on(
    teacher: Path, tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed options are all that fairseq-train needs; with a learning rate of 0 the weights stay as copied."""
    student = tmp_path / "student.pt"
    shape = init_student(capsys, teacher, student, "--encoder-layers", 2, "--decoder-layers", 2)
    assert generated_rows(tiny_corpus, student) == 40
    trained = train_from(student, tiny_corpus, tmp_path / "save", shape)
    before, after = (read_checkpoint(path)["model"] for path in (student, trained))
    assert before.keys() == after.keys()
    for name in filter(is_parameter, before):
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)


def test_another_checkpoint_is_not_overwritten(
    tiny_teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trained student, perhaps. The same copy stays as it is."""
    output = tmp_path / "checkpoint_best.pt"
    init_student(capsys, tiny_teacher, output)
    written = output.stat().st_mtime_ns
    init_student(capsys, tiny_teacher, output)
    assert output.stat().st_mtime_ns == written
    output.write_bytes(b"a trained student")
    with pytest.raises(UserError, match=r"checkpoint_best.pt: holds something else; give another or delete it"):
        init_student(capsys, tiny_teacher, output)
    assert output.read_bytes() == b"a trained student"


def test_a_whole_copy_is_the_teacher(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init_student(capsys, teacher, tmp_path / "student.pt")
    before, after = (read_checkpoint(path)["model"] for path in (teacher, tmp_path / "student.pt"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_teacher_trained_with_hydra(tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its configuration is nested."""
    layers = {"layers": 3, "embed_dim": 16, "ffn_embed_dim": 20, "attention_heads": 2}
    saved = train_with_hydra(tiny_corpus, tmp_path, layers)
    student = tmp_path / "student.pt"
    shape = init_student(capsys, saved / "checkpoint_last.pt", student, "--encoder-layers", 1, "--decoder-layers", 2)
    (model,) = build_models([student], open_dictionaries(tiny_corpus))
    assert (model.encoder.num_layers, model.decoder.num_layers) == (1, 2)
    assert train_from(student, tiny_corpus, tmp_path / "save", shape).exists()


REFUSED = [
    (("--encoder-layers", "2"), "--encoder-layers 2: the teacher has 1 encoder layers; give 1 to 1"),
    (("--decoder-layers", "0"), "--decoder-layers 0: the teacher has 1 decoder layers; give 1 to 1"),
    (("--encoder-embed-dim", "8"), "--encoder-embed-dim 8: the teacher's is 16, and a layer cannot be copied"),
    (("--decoder-ffn-embed-dim", "64"), "--decoder-ffn-embed-dim 64: the teacher's is 32, and a layer cannot be"),
]


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_what_cannot_be_copied(options: tuple[str, ...], told: str, tiny_teacher: Path, tmp_path: Path) -> None:
    words = ["init-student", "--teacher", str(tiny_teacher), "--output", str(tmp_path / "x.pt"), *options]
    with pytest.raises(UserError, match=told):
        cli.main(words)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_teacher(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    lstm = train_model(tiny_corpus, tmp_path / "lstm", "--max-update", "1", architecture="lstm")
    before = tiny_teacher.read_bytes()
    for path, output, told in (
        (lstm, tmp_path / "x.pt", "'lstm' is no Transformer"),
        (tmp_path / "none.pt", tmp_path / "x.pt", "teacher .*none.pt: no such file"),
        (tiny_teacher, tiny_teacher, "is the teacher itself"),
    ):
        with pytest.raises(UserError, match=told):
            cli.main(["init-student", "--teacher", str(path), "--output", str(output)])
    assert tiny_teacher.read_bytes() == before and not (tmp_path / "x.pt").exists()
