"""A teacher's tokens and answers beside those of its own task, in one process and in float64."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.corpus.cache import cache
from fairseq_kd.corpus.distilled.decode import decode
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.open_text import open_translator
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.distributions import previous_tokens, real_tokens
from fairseq_kd.networks.teacher import load_teacher
from fairseq_kd.networks.teacher_tasks import TeacherTask
from tests.support.models import batch, build
from tests.support.multilingual import KINDS, own_task, untrained, write_data
from tests.support.multilingual_oracle import own_log_probs, token_kd_loss
from tests.support.shared import made_once

ROWS = [0, 1, 2, 3, 4]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "multilingual", write_data)


@pytest.fixture(scope="module")
def checkpoint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A teacher of a kind, not trained: the symbols that it alone has get a share of every distribution."""
    return lambda kind, *options: untrained(data, tmp_path_factory.mktemp(kind), kind, *options)


def loaded(path: Path, task: Any, **options: Any) -> Any:
    return load_teacher([str(path)], task, None, False, None, **options)


@pytest.mark.parametrize("padding", [(), ("--left-pad-source",)], ids=["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_is_that_of_the_teachers_own_task(
    data: Path, checkpoint: Callable[..., Path], kind: str, padding: tuple[str, ...]
) -> None:
    """Source and decoder input, token by token, whatever side the student's batch is padded on."""
    task, _, _ = build(data / "de", "--task", "translation_kd", *padding)
    (tokens,) = loaded(checkpoint(kind), task).tokens
    own, sample, pad = own_task(data, kind), batch(task, "valid", ROWS), task.target_dictionary.pad()
    assert len(set(sample["net_input"]["src_lengths"].tolist())) > 1
    asked, mask = tokens.batch(sample, real_tokens(sample["target"], pad))
    # The own task of mBART also asks what comes behind </s>: the language, which no student learns.
    behind = 1 if kind in ("mbart", "bos") else 0
    for place, row in enumerate(sample["id"].tolist()):
        expected = batch(own, "valid", [row])["net_input"]
        source, previous = (asked["net_input"][name][place] for name in ("src_tokens", "prev_output_tokens"))
        assert source[source.ne(pad)].tolist() == expected["src_tokens"][0].tolist()
        assert previous[previous.ne(pad)].tolist() == expected["prev_output_tokens"][0].tolist()[: -behind or None]
        assert asked["net_input"]["src_lengths"][place] == len(expected["src_tokens"][0])
        # A single sentence, as decode dresses it.
        plain = sample["net_input"]["src_tokens"][place]
        assert tokens.source(plain[plain.ne(pad)]).tolist() == expected["src_tokens"][0].tolist()
    assert mask.sum() == sample["ntokens"]


@pytest.mark.parametrize(("alpha", "tau"), [(1.0, 1.0), (0.7, 2.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_renormalised_distributions(
    data: Path, checkpoint: Callable[..., Path], kind: str, alpha: float, tau: float
) -> None:
    """token_kd against a float64 loop over the batches of the teacher's own task."""
    path = checkpoint(kind)
    kd = ("--task", "translation_kd", "--criterion", "token_kd", "--kd-alpha", str(alpha), "--kd-temperature", str(tau))
    task, student, criterion = build(data / "de", *kd, "--teacher-path", str(path))
    loss = criterion(student.train(), batch(task, "valid", ROWS))[0].item()
    teacher = copy.deepcopy(task.teacher(student).models[0])
    assert loss == pytest.approx(token_kd_loss(data, kind, teacher, student, task, ROWS, alpha, tau), rel=1e-5)
    # What is cut off is no rounding error: with all symbols the loss would be another one.
    gold = batch(task, "valid", [0])["target"][0].tolist()
    mass = own_log_probs(own_task(data, kind), teacher, 0, gold, len(task.target_dictionary))[1]
    assert mass.min() > 0.01


def test_a_teacher_without_a_projection_of_its_own_is_cut_too(data: Path, checkpoint: Callable[..., Path]) -> None:
    """Its answers are log-probabilities, as those of an adaptive softmax."""
    path = checkpoint("both", "--adaptive-softmax-cutoff", "20")
    task, _, _ = build(data / "de", "--task", "translation_kd")
    teacher = loaded(path, task)
    sample = batch(task, "valid", ROWS)
    (answer,) = teacher.next_tokens(sample, real_tokens(sample["target"], task.target_dictionary.pad()))
    assert answer.vocabulary == len(task.target_dictionary)
    assert answer.features.exp().sum(-1).max() < 0.999  # the mass of the teacher's own symbols is missing


def test_a_sentence_that_is_too_long_is_counted_without_the_teachers_tokens(
    data: Path, checkpoint: Callable[..., Path]
) -> None:
    """The options that the message names are the student's, and a batch within them is taken."""
    path = checkpoint("both", "--max-source-positions", "7")
    task, _, _ = build(data / "de", "--task", "translation_kd")
    teacher, pad = loaded(path, task), task.target_dictionary.pad()
    task.load_dataset("valid")
    sizes = task.dataset("valid").src_sizes.tolist()
    fits, too_long = (batch(task, "valid", [sizes.index(size)]) for size in (6, 7))
    teacher.next_tokens(fits, real_tokens(fits["target"], pad))
    told = "a source sentence has 7 tokens, the teacher takes at most 6; train with --max-source-positions 6 "
    with pytest.raises(UserError, match=told):
        teacher.next_tokens(too_long, real_tokens(too_long["target"], pad))


def test_cached_distributions_are_those_of_the_live_teacher(
    data: Path, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = checkpoint("replacing")
    kd = ("--task", "translation_kd", "--criterion", "token_kd", "--kd-alpha", "1", "--kd-top-k", "6")
    settings = cache(str(path), data / "de", tmp_path / "cache", 6, subset="valid")
    assert settings["teacher_tokens"][0]["languages"] == ["en", "de"]
    found = []
    for given in (("--teacher-path", str(path)), ("--teacher-cache", str(tmp_path / "cache"))):
        task, student, criterion = build(data / "de", *kd, *given)
        found.append(criterion(student.eval(), batch(task, "valid", ROWS))[0].item())
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    with pytest.raises(UserError, match="teacher_tokens"):
        cache(str(path), data / "de", tmp_path / "cache", 6, subset="valid", direction=(None, "fr"))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_drawn_by_the_teachers_own_steps(data: Path, checkpoint: Callable[..., Path], kind: str) -> None:
    """With the one likeliest symbol: each is the argmax of a whole forward over the student's symbols."""
    task, _, _ = build(data / "de", "--task", "translation_kd")
    teacher, sample, symbols = loaded(checkpoint(kind), task), batch(task, "valid", ROWS), task.target_dictionary
    greedy = Sampling(top_k=1, max_len_a=0.0, max_len_b=6)
    drawn = draw_rollouts(teacher.models, sample, greedy, (1, 1), symbols, teacher.tokens)
    assert drawn.max() < len(symbols)
    asked = {"net_input": {**sample["net_input"], "prev_output_tokens": previous_tokens(drawn, symbols)}}
    real = real_tokens(drawn, symbols.pad())
    (answer,) = teacher.next_tokens(asked, real)
    logits = answer.logits(slice(None))
    logits[:, symbols.pad()] = float("-inf")
    ended_by_limit = drawn[real].eq(symbols.eos())
    assert logits.argmax(-1)[~ended_by_limit].tolist() == drawn[real][~ended_by_limit].tolist()


def test_sampling_decodes_the_students_symbols(data: Path, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    sampling = Sampling(max_len_b=8)
    decode(str(checkpoint("mbart")), data / "de", tmp_path, DecodingOptions(), subset="test", sampling=sampling)
    known = open_databin(data / "de", "test").target_dictionary
    words = (tmp_path / "test.de").read_text().split()
    assert words and all(word in known for word in words)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_name": "language_modeling"}, "its task 'language_modeling' is not served"),
        ({"_name": "multilingual_translation"}, "its task 'multilingual_translation' is not served"),
        ({"_name": "translation_lev"}, "its task 'translation_lev' is not served"),
        ({"_name": "speech_to_text"}, "its task 'speech_to_text' is not served"),
        ({"enable_lang_ids": True}, "--enable-lang-ids"),
        ({"langs": ["en", "fr"]}, "knows no language 'de', but en, fr"),
        ({"langs": None, "lang_dict": "/nowhere/langs.txt"}, "list of languages /nowhere/langs.txt is missing"),
        ({"fixed_dictionary": "/nowhere/other.txt"}, "other.txt not found"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    data: Path, checkpoint: Callable[..., Path], change: dict[str, Any], said: str
) -> None:
    path = checkpoint("source")
    state = torch.load(path, weights_only=True)
    for name, value in change.items():
        setattr(state["cfg"]["task"], name, value)
    torch.save(state, path)
    with pytest.raises(UserError, match=said) as error:
        loaded(path, open_databin(data / "de", "valid"))
    assert "\n" not in str(error.value)


def test_it_takes_no_raw_text_and_no_student_of_other_subwords(
    data: Path, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = checkpoint("source")
    with pytest.raises(UserError, match=r"its task .* adds language tokens, which this command does not know"):
        open_translator(str(path), languages=("en", "de"), engine="fairseq")
    words = ("--teacher-path", str(path), "--teacher-spm", "spm.model", "--teacher-vocabulary", "aligned")
    task, student, _ = build(data / "de", "--task", "translation_kd", "--criterion", "token_kd", *words)
    with pytest.raises(UserError, match="--teacher-spm: a teacher with language tokens needs the student's vocab"):
        task.teacher(student)


def test_an_unknown_task_counts_as_translation(
    data: Path, checkpoint: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    task = open_databin(data / "de", "valid")
    config = read_checkpoint(checkpoint("source"))["cfg"]
    config.task._name = "somebodys_translation"
    tokens = TeacherTask("x.pt", config, task, (None, None), "teacher").tokens(*[task.target_dictionary] * 2)
    assert tokens.plain and "taken as translation" in caplog.text


def test_a_dictionary_that_has_the_languages_already(data: Path, checkpoint: Callable[..., Path]) -> None:
    """Nothing is appended then; and a symbol that stands elsewhere keeps its number."""
    task = open_databin(data / "de", "valid")
    own = TeacherTask("x.pt", read_checkpoint(checkpoint("source"))["cfg"], task, (None, None), "teacher")
    task.target_dictionary.add_symbol("__de__")
    first = own.tokens(task.target_dictionary, task.target_dictionary)
    assert first.kept == len(task.target_dictionary) == first.dictionaries[1].index("__de__") + 1
    assert first.before == (first.kept - 1,)
