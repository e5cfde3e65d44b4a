"""The stages that the sweeps try, each as one command on a tiny corpus."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from tests.support.commands import BIN, ROOT, run_command
from tests.support.corpora import write_text
from tests.support.experiments import small_experiment
from tests.support.models import ARCHITECTURES
from tests.support.training import teacher_of_pieces

SEARCH = ["--max-len-a", "1.2", "--max-len-b", "10"]
TRAINING = f"""
  --cpu --optimizer adam --lr 0.01 --max-tokens 400 --max-epoch 3 --num-workers 0 --seed 3 --keep-last-epochs 2
  --log-format simple --log-interval 5 --save-interval-updates 8 {ARCHITECTURES["transformer"]}
""".split()


@dataclass(frozen=True)
class Material:
    """What the stages read: made once, in ``folder``."""

    folder: Path

    @property
    def text(self) -> Path:
        """Text of 300, 40 and 40 rows, languages src and tgt."""
        return self.folder / "text"

    @property
    def model(self) -> Path:
        """A Transformer of sentencepiece subwords."""
        return self.folder / "teacher" / "checkpoint_last.pt"

    @property
    def second_model(self) -> Path:
        """Another one of the same size."""
        return self.folder / "teacher" / "second.pt"

    @property
    def data(self) -> Path:
        """Its data-bin."""
        return self.folder / "teacher" / "data-bin"

    @property
    def experiment(self) -> Path:
        """The configuration of an experiment: a teacher and a Seq-KD student of an epoch each."""
        return self.folder / "small.yaml"


def make_material(folder: Path) -> Material:
    """Text, a teacher, a finished decode with n-best lists and a score file."""
    given = Material(folder)
    write_text(given.text, {"train": 300, "valid": 40, "test": 40})
    teacher_of_pieces(given.text, folder / "teacher")
    decode = ["--model", given.model, "--data", given.data, "--subset", "train", "--block-rows", "50", *SEARCH]
    state = torch.load(given.model, weights_only=False)  # our own file
    state["model"] = {name: 1.5 * tensor for name, tensor in state["model"].items()}
    torch.save(state, given.second_model)
    run_command("fairseq-kd", "decode", *decode, "--output", folder / "decoded", "--beam", "3", "--nbest", "3")
    score = ["--model", given.model, "--data", given.data, "--subset", "test", "--beam", "1", *SEARCH]
    run_command("fairseq-kd", "evaluate", *score, "--name", "Teacher", "--output", folder / "score.json")
    given.experiment.write_text(yaml.safe_dump(small_experiment("small", 1), sort_keys=False))
    return given


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: in the table.
        words: from the material and the output to the command line.
        before: copies into the output's folder what the stage works on in place.
    """

    name: str
    words: Callable[[Material, Path], Sequence[str | Path]]
    before: Callable[[Material, Path], None] = lambda given, output: None

    def command(self, given: Material, output: Path) -> list[str]:
        """The command line, with the full path of its program."""
        program, *words = map(str, self.words(given, output))
        if program.endswith(".sh"):
            return ["bash", str(ROOT / "scripts" / program), *words]
        return [str(BIN / program), *words]


def _kd(name: str, verb: str, *words: str, data: bool = True, model: bool = True, suffix: str = "") -> Stage:
    """A verb of `fairseq-kd` whose output is ``output`` with ``suffix``."""

    def line(given: Material, output: Path) -> list[str | Path]:
        own = [word.format(folder=given.folder) for word in words]
        reads = [*(["--model", given.model] if model else []), *(["--data", given.data] if data else [])]
        return ["fairseq-kd", verb, *reads, *own, "--output", output / f"out{suffix}"]

    return Stage(name, line)


def _training(name: str, criterion: str, *words: str) -> Stage:
    def line(given: Material, output: Path) -> list[str | Path]:
        live = ["--task", "translation_kd", "--teacher-path", given.model, "--teacher-data", given.data]
        own = [word.format(folder=given.folder) for word in words]
        return ["train.sh", output / "out", given.data, *TRAINING, *live, "--criterion", criterion, *own]

    return Stage(name, line)


def _split_options(text: Path) -> list[str | Path]:
    return [word for split in ("train", "valid", "test") for word in (f"--{split}", text / split)]


def _pair() -> list[str]:
    return ["--source-lang", "src", "--target-lang", "tgt"]


def _merge_before(given: Material, output: Path) -> None:
    """A decode without its joined text: what merge makes."""
    shutil.copytree(given.folder / "decoded", output / "out")
    for path in (output / "out").glob("train.*"):
        path.unlink()


STAGES = [
    _kd("synthetic", "synthetic", "--train", "3000", "--valid", "50", "--test", "50", data=False, model=False),
    Stage(
        "prepare_data.sh",
        lambda given, output: [
            *("prepare_data.sh", *_pair(), *_split_options(given.text)),
            *("--vocab-size", "24", "--output", output / "out"),
        ],
    ),
    _kd("decode", "decode", "--subset", "train", "--block-rows", "30", "--beam", "3", "--nbest", "3", *SEARCH),
    Stage("merge", lambda given, output: ["fairseq-kd", "merge", output / "out"], _merge_before),
    _kd(
        *("select", "select", "--nbest", "{folder}/decoded/train.nbest.tsv", "--reference", "{folder}/text/train.tgt"),
        *("--block-rows", "30"),
        data=False,
        model=False,
    ),
    _kd("filter", "filter", "--input", "{folder}/decoded", "--block-rows", "30", data=False, model=False),
    _kd("recut", "recut", "--vocab-size", "24", model=False),
    _kd("cache", "cache", "--subset", "train", "--top-k", "4", "--block-rows", "30"),
    Stage(
        "generate_distilled_corpus.sh",
        lambda given, output: [
            *("generate_distilled_corpus.sh", "--model", given.model, "--data", given.data, "--output", output / "out"),
            *("--block-rows", "60", *SEARCH),
        ],
    ),
    _training("token_kd", "token_kd"),
    _training("f_distill, rollouts", "f_distill", "--divergence", "js", "--online-teacher-samples"),
    _training("hybrid_kd", "hybrid_kd", "--distilled-data", "{folder}/teacher/data-bin", "--gate", "learned"),
    Stage(
        "prune_and_retrain.sh",
        lambda given, output: [
            *("prune_and_retrain.sh", "--model", given.model, "--data", given.data, "--output", output / "out"),
            *("--sparsities", "0.4 0.6", "--", *TRAINING, "--criterion", "fused_cross_entropy"),
        ],
    ),
    _kd("prune", "prune", "--sparsity", "0.5", data=False, suffix=".pt"),
    _kd("export to CTranslate2", "export", "--to", "ctranslate2"),
    _kd("export, sparse", "export", "--to", "sparse", data=False, suffix=".sparse"),
    Stage(
        "init-student",
        lambda given, output: [
            *("fairseq-kd", "init-student", "--teacher", given.model, "--encoder-layers", "1", "--decoder-layers", "1"),
            *("--output", output / "out.pt"),
        ],
    ),
    Stage(
        "average",
        lambda given, output: ["fairseq-kd", "average", given.model, given.second_model, "--output", output / "out.pt"],
    ),
    _kd("evaluate", "evaluate", "--subset", "test", "--beam", "1", "3", *SEARCH, suffix=".json"),
    Stage(
        "risks",
        lambda given, output: [
            *("fairseq-kd", "risks", "--teacher", given.model, "--model", given.model, "--data", given.data),
            *("--subset", "test", "--samples", "2", "--output", output / "out.json"),
        ],
    ),
    _kd("table", "table", "{folder}/score.json", data=False, model=False),
    _kd("report", "report", "{folder}/score.json", data=False, model=False, suffix=".html"),
    _kd("trim", "trim"),
    Stage(
        "noise",
        lambda given, output: [
            *("fairseq-kd", "noise", *_pair(), "--input", given.text, "--kind", "tokens"),
            *("--seed", "1", "--output", output / "out"),
        ],
    ),
    Stage(
        "the whole workflow",
        lambda given, output: ["run.sh", "--output", output / "out", given.experiment, "--cores", "1"],
    ),
]
