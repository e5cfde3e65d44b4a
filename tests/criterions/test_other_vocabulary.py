"""token_kd with a teacher of other subwords, on real models and batches, in one process."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from fairseq_kd.data.databins.databin import open_dictionaries
from fairseq_kd.data.teacher_text_dataset import check_boundaries
from fairseq_kd.data.text.teacher_text import TeacherText
from fairseq_kd.errors import UserError
from fairseq_kd.networks.teacher import Teacher
from tests.criterions.test_token_kd import loss_and_gradient
from tests.support.gradients import assert_slope
from tests.support.models import batch, build

KD = ("--task", "translation_kd", "--criterion", "token_kd")
ROWS = [3, 17, 0, 21, 8]


def options(folder: Path, kind: str, *more: str) -> tuple[str, ...]:
    """For a student of ``folder`` and its trained teacher."""
    path, spm = folder / "teacher" / "checkpoint_last.pt", folder / "teacher" / "spm.model"
    return (*KD, "--teacher-path", str(path), "--teacher-spm", str(spm), "--teacher-vocabulary", kind, *more)


def setup(folder: Path, kind: str, *more: str, data: str = "student", student: str = "transformer") -> tuple[Any, ...]:
    """Task, student and criterion in float64, and a batch. (fairseq's attention has its softmax in float32.)"""
    task, model, criterion = build(folder / data / "data-bin", *options(folder, kind, *more), architecture=student)
    return task, model.double().train(), criterion, batch(task, "valid", ROWS)


def surfaces(symbols: list[str], words: bool) -> list[str]:
    return [f"▁{symbol}" if words else symbol for symbol in symbols]


def sentences(target: torch.Tensor, dictionary: Any) -> list[list[int]]:
    """Each row's symbols, without padding and ``</s>``."""
    return [[one for one in row if one not in (dictionary.pad(), dictionary.eos())] for row in target.tolist()]


def rows_of(task: Any, model: Any, sample: dict[str, Any], tau: float) -> list[tuple[Any, ...]]:
    """For each row: both sides' symbols, their logits, and their log-probabilities; the teacher reads it alone."""
    theirs = task.teacher_task()
    found = []
    teacher = task.teacher(model).models[0]
    for place, own in enumerate(sentences(sample["target"], task.target_dictionary)):
        source, target = sample["net_input"]["src_tokens"][place], sample["target"][place]
        cut = task.datasets["valid"].text.row(source, target)
        ids = cut.target.tolist()
        input_ = {"src_tokens": cut.source[None], "src_lengths": torch.tensor([len(cut.source)])}
        with torch.no_grad():
            previous = torch.tensor([[theirs.target_dictionary.eos(), *ids[:-1]]])
            p = teacher(**input_, prev_output_tokens=previous)[0][0].double()
            real = target != task.target_dictionary.pad()
            q = model(**sample["net_input"])[0][place][real].double()
        found.append((own, ids[:-1], p, q, (q / tau).log_softmax(-1), (p / tau).log_softmax(-1)))
    return found


def common_spans(own: list[str], theirs: list[str]) -> list[tuple[int, int, int, int]]:
    """All spans between neighbouring boundaries, ``</s>`` the last."""
    common = [
        (i, j) for i in range(len(own) + 1) for j in range(len(theirs) + 1) if "".join(own[:i]) == "".join(theirs[:j])
    ]
    common.append((len(own) + 1, len(theirs) + 1))
    return [(*start, *end) for start, end in pairwise(common)]


def mapped_by_hand(p: list[float], theirs: Any, own: Any, words: bool) -> list[float]:
    """The teacher's probabilities over the student's symbols."""
    surface = {f"▁{symbol}" if words and index > 3 else symbol: index for index, symbol in enumerate(own.symbols)}
    found = [0.0] * len(own)
    for symbol, probability in zip(theirs.symbols, p, strict=True):
        beginnings = [symbol[:size] for size in range(len(symbol), 0, -1)]
        if words or symbol.startswith("<"):
            beginnings = [symbol]
        one = next((surface[beginning] for beginning in beginnings if beginning in surface), None)
        if one is not None:
            found[one] += probability
    mass = math.fsum(found)
    return [probability / mass for probability in found]


def hard(log_q: list[float], gold: int, eps: float) -> float:
    others = eps / (len(log_q) - 1)
    return -(1 - eps - others) * log_q[gold] - others * math.fsum(log_q)


def expected(task: Any, model: Any, sample: dict[str, Any], kind: str, settings: tuple[float, float, float]) -> float:
    """The loss by loops over sentences, spans and symbols."""
    alpha, tau, eps = settings
    own, theirs = task.target_dictionary, task.teacher_task().target_dictionary
    words = task.cfg.student_post_process == "none"
    total = 0.0
    for ids, their_ids, p, q, log_q, log_p in rows_of(task, model, sample, tau):
        gold, plain = [*ids, own.eos()], q.log_softmax(-1).tolist()
        total += (1 - alpha) * math.fsum(hard(row, one, eps) for row, one in zip(plain, gold, strict=True))
        if kind == "uld":
            for one, other in zip(log_p.exp().tolist(), log_q.exp().tolist(), strict=False):
                width = max(len(one), len(other))
                one, other = (sorted(side, reverse=True) + [0.0] * (width - len(side)) for side in (one, other))
                total += alpha * tau**2 * math.fsum(abs(a - b) for a, b in zip(one, other, strict=True))
            continue
        pieces = [surfaces([own[one] for one in ids], words), [theirs[one] for one in their_ids]]
        for i, j, i_end, j_end in common_spans(*pieces):
            if i_end == i + 1 and j_end == j + 1:
                tempered = [
                    probability ** (1 / tau)
                    for probability in mapped_by_hand(p[j].softmax(-1).tolist(), theirs, own, words)
                ]
                mass = math.fsum(tempered)
                pairs = zip(tempered, log_q[i].tolist(), strict=True)
                total -= alpha * tau**2 * math.fsum(a / mass * b for a, b in pairs)
                continue
            p_span, q_span = (
                math.exp(math.fsum(row[step][symbols[step]].item() for step in range(start, end)))
                for row, symbols, start, end in ((log_p, their_ids, j, j_end), (log_q, gold, i, i_end))
            )
            total -= alpha * tau**2 * (p_span * math.log(q_span) + (1 - p_span) * math.log1p(-q_span))
    return total


@pytest.mark.parametrize("kind", ["aligned", "uld"])
@pytest.mark.parametrize("data", ["student", "words"])
@pytest.mark.parametrize("settings", [(0.5, 1.0, 0.0), (0.7, 2.0, 0.1), (1.0, 0.5, 0.0)])
def test_the_loss_is_the_formula(
    two_vocabularies: Path, kind: str, data: str, settings: tuple[float, float, float]
) -> None:
    alpha, tau, eps = settings
    words = ("--kd-alpha", str(alpha), "--kd-temperature", str(tau), "--label-smoothing", str(eps))
    words += ("--student-post-process", "none") if data == "words" else ()
    task, model, criterion, sample = setup(two_vocabularies, kind, *words, data=data)
    places = sample["teacher_text"]
    assert places["pairs"].size(1) > len(ROWS) and places["student_spans"].size(1) > 0 and places["unaligned"] == 0
    loss, sample_size, log = criterion(model, sample)
    assert loss.item() == pytest.approx(expected(task, model, sample, kind, settings), rel=1e-7)
    assert sample_size == sample["ntokens"] == log["ntokens"]


@pytest.mark.parametrize("kind", ["aligned", "uld"])
@pytest.mark.parametrize("student", ["transformer", "lstm"])
def test_a_batch_is_the_sum_of_its_sentences(two_vocabularies: Path, kind: str, student: str) -> None:
    """Padding and the teacher's order of rows enter neither loss nor gradient; a batch can be cut in two."""
    task, model, criterion, sample = setup(two_vocabularies, kind, "--label-smoothing", "0.1", student=student)
    whole, whole_gradient = loss_and_gradient(model, criterion, [sample])
    for parts in ([ROWS[:2], ROWS[2:]], [[row] for row in ROWS]):
        some, some_gradient = loss_and_gradient(model, criterion, [batch(task, "valid", rows) for rows in parts])
        assert some == pytest.approx(whole, rel=1e-7)
        torch.testing.assert_close(some_gradient, whole_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["aligned", "uld"])
def test_padding_on_either_side_is_the_same(two_vocabularies: Path, kind: str) -> None:
    found = []
    for source, target in ((True, False), (False, True)):
        task, model, criterion = build(two_vocabularies / "student" / "data-bin", *options(two_vocabularies, kind))
        task.cfg.left_pad_source, task.cfg.left_pad_target = source, target
        sample = batch(task, "valid", ROWS)
        assert (sample["teacher_text"]["target"][:, 0] == task.target_dictionary.pad()).any() == target
        found.append(loss_and_gradient(model.double().train(), criterion, [sample]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-7)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)


def with_equal_pieces(folder: Path, data: str, *more: str, seed: int = 2) -> tuple[Any, ...]:
    """A student and a teacher whose dictionaries hold the same pieces; those of ``data`` in another order.

    The teacher's function of the text is the same for every ``data``: its rows of embeddings follow the dictionary.
    """
    spm = ("--teacher-spm", str(folder / "student" / "spm.model"))
    task, model, criterion = build(folder / "student" / "data-bin", *KD, *spm, *more)
    _, teacher, _ = build(folder / "student" / "data-bin", seed=seed)
    theirs = open_dictionaries(folder / data / "data-bin")
    order = torch.tensor([task.target_dictionary.index(symbol) for symbol in theirs.target_dictionary.symbols])
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if name.endswith(("embed_tokens.weight", "output_projection.weight")):
                parameter.copy_(parameter[order].clone())
    task._teacher_task, task._teacher = theirs, Teacher([teacher.eval().requires_grad_(False)])
    return task, model.double().train(), criterion, batch(task, "train", ROWS)


@pytest.mark.parametrize("data", ["student", "equal"])
@pytest.mark.parametrize("more", [(), ("--kd-temperature", "2", "--kd-top-k", "5"), ("--kd-alpha", "1")])
def test_with_equal_pieces_it_is_word_kd(two_vocabularies: Path, data: str, more: tuple[str, ...]) -> None:
    """Values and gradients are those of the same-vocabulary loss, whatever the order of the teacher's dictionary."""
    aligned = ("--teacher-vocabulary", "aligned", "--label-smoothing", "0.1", *more)
    _, model, criterion, sample = with_equal_pieces(two_vocabularies, data, *aligned)
    found = loss_and_gradient(model, criterion, [sample])
    task, model, same = build(two_vocabularies / "student" / "data-bin", *KD, "--label-smoothing", "0.1", *more)
    _, teacher, _ = build(two_vocabularies / "student" / "data-bin", seed=2)
    task._teacher = Teacher([teacher.eval().requires_grad_(False)])
    plain = batch(task, "train", ROWS)
    assert torch.equal(plain["target"], sample["target"])
    expected = loss_and_gradient(model.double().train(), same, [plain])
    assert found[0] == pytest.approx(expected[0], rel=1e-9)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-9)
    first, second = criterion(model, sample)[2], same(model, plain)[2]
    assert first["kd_loss"].item() == pytest.approx(second["kd_loss"].item(), rel=1e-6)
    assert first["agreed"] == second["agreed"] and first["one_to_one"] == second["ntokens"] and first["spans"] == 0


def test_with_equal_pieces_uld_compares_every_token(two_vocabularies: Path) -> None:
    _, model, criterion, sample = with_equal_pieces(two_vocabularies, "equal", "--teacher-vocabulary", "uld")
    assert criterion(model, sample)[2]["uld_ntokens"] == sample["ntokens"]
    # The student as its own teacher.
    same = with_equal_pieces(two_vocabularies, "student", "--teacher-vocabulary", "uld", "--kd-alpha", "1", seed=1)
    loss = same[2](same[1], same[3])[0]
    assert loss.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", ["aligned", "uld"])
def test_gradient_by_finite_differences(two_vocabularies: Path, kind: str) -> None:
    _, model, criterion, sample = setup(two_vocabularies, kind, "--label-smoothing", "0.1", "--kd-temperature", "1.5")
    loss_and_gradient(model, criterion, [sample])
    parameters = [p for p in model.parameters() if p.requires_grad]
    # The sorted distance has kinks: between the two points some |p − q| change their sign.
    tolerance = 1e-5 if kind == "aligned" else 1e-3
    assert_slope(lambda: criterion(model, sample)[0].item(), parameters, step=1e-4, rel=tolerance)


@pytest.mark.parametrize("kind", ["aligned", "uld"])
def test_several_teachers_of_one_vocabulary(two_vocabularies: Path, kind: str) -> None:
    """A teacher twice is the teacher."""
    task, model, criterion, sample = setup(two_vocabularies, kind)
    alone = criterion(model, sample)[0]
    task._teacher = Teacher(task.teacher(model).models * 2)
    assert criterion(model, sample)[0].item() == pytest.approx(alone.item(), rel=1e-9)


def test_a_student_is_validated_where_no_teacher_is(two_vocabularies: Path) -> None:
    words = [word.replace("checkpoint_last.pt", "gone.pt") for word in options(two_vocabularies, "aligned")]
    task, model, criterion = build(two_vocabularies / "student" / "data-bin", *words)
    _, _, log = criterion.eval()(model.eval(), batch(task, "valid", ROWS))
    assert log["loss"] == pytest.approx(log["nll_loss"].item()) and "kd_loss" not in log


def test_rows_with_other_characters_are_counted(two_vocabularies: Path) -> None:
    """The student's text has an unknown symbol where the teacher's model writes another one."""
    task, model, criterion, sample = setup(two_vocabularies, "aligned")
    text = task.datasets["valid"].text
    own = task.target_dictionary
    source, target = (getattr(task.datasets["valid"].dataset, side)[3] for side in ("src", "tgt"))
    spoilt = target.clone()
    spoilt[2] = own.unk()
    cut = text.row(source, spoilt)
    assert not cut.alignment.whole
    assert (len(target) - 1, len(cut.target) - 1) in cut.alignment.pairs
    assert all(not i <= 2 < i_end for i, i_end, _, _ in cut.alignment.spans)
    assert criterion(model, sample)[2]["unaligned"] == 0


@pytest.mark.parametrize("place", [0, 2, -2])
def test_an_end_symbol_within_a_target_moves_no_other_token(two_vocabularies: Path, place: int) -> None:
    """What is compared is the same text on both sides, in this row and in the rows behind it."""
    task, _, _, sample = setup(two_vocabularies, "aligned")
    text, own, theirs = task.datasets["valid"].text, task.target_dictionary, task.teacher_task().target_dictionary
    targets = [row[row != own.pad()] for row in sample["target"]]
    one = targets[1].tolist()
    one.insert(place, own.eos())
    targets[1] = torch.tensor(one)
    source = sample["net_input"]["src_tokens"][0]
    made = text.batch([text.row(source, row) for row in targets], left_pad_source=True, left_pad_target=False)
    symbols = [own[symbol] for row in targets for symbol in row]
    their_symbols = [theirs[symbol] for symbol in made["target"][made["target"] != theirs.pad()]]
    assert len(made["pairs"].t()) > len(ROWS) and made["spans"] and int(made["pairs"][0].max()) == len(symbols) - 1
    assert all(symbols[i] == their_symbols[j] for i, j in made["pairs"].t().tolist())
    for number in range(made["spans"]):
        parts = [
            "".join(side[i] for i, span in made[key].t().tolist() if span == number)
            for side, key in ((symbols, "student_spans"), (their_symbols, "teacher_spans"))
        ]
        assert parts[0] == parts[1]
    ends = sum(row.eq(own.eos()).sum().item() for row in targets)
    assert ends == len(ROWS) + 1 and sum(symbols[i] == own[own.eos()] for i in made["pairs"][0]) == len(ROWS)


def test_a_piece_that_reads_as_padding_counts(two_vocabularies: Path, tmp_path: Path) -> None:
    """A model whose pieces have "<pad>" in them cuts a text with these characters."""
    files = f"--input={two_vocabularies}/text/train.tgt --model_prefix={tmp_path}/spm --vocab_size=60"
    SentencePieceTrainer.train(f"{files} --user_defined_symbols=<pad> --minloglevel=2 --hard_vocab_limit=false")
    model = SentencePieceProcessor(model_file=f"{tmp_path}/spm.model")
    assert "<pad>" in model.encode("a <pad> b", out_type=str)
    dictionary = Dictionary()
    for symbol in ("▁a", "▁<pad>", "▁b"):
        dictionary.add_symbol(symbol)
    text = TeacherText([model, model], (dictionary, dictionary), (dictionary, dictionary), words=False)
    symbols = dictionary.encode_line("▁a ▁<pad> ▁b", add_if_not_exist=False).long()
    assert text.row(symbols, symbols).target.ne(dictionary.pad()).all()


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("kind", ["aligned", "uld"])
def test_rows_that_are_too_long_for_the_teacher_learn_from_gold(two_vocabularies: Path, kind: str, side: str) -> None:
    """Of the teacher's positions; the loss of the other rows is as it was."""
    task, model, criterion, sample = setup(two_vocabularies, kind, "--kd-alpha", "0.7", "--label-smoothing", "0.1")
    _, _, gold = build(
        two_vocabularies / "student" / "data-bin", "--criterion", "fused_cross_entropy", "--label-smoothing", "0.1"
    )
    alone = {row: batch(task, "valid", [row]) for row in ROWS}
    text = {"encoder": lambda one: one["net_input"]["src_tokens"], "decoder": lambda one: one["target"]}[side]
    sizes = {row: text(one["teacher_text"]).size(1) for row, one in alone.items()}
    taught = {row: criterion(model, one)[0].item() for row, one in alone.items()}
    untaught = {row: 0.3 * gold(model, one)[0].item() for row, one in alone.items()}
    coder = getattr(task.teacher(model).models[0], side)
    for most in (sorted(sizes.values())[2], max(sizes.values()), 1):
        setattr(coder, {"encoder": "max_source_positions", "decoder": "max_target_positions"}[side], most)
        expected = math.fsum((taught if sizes[row] <= most else untaught)[row] for row in ROWS)
        loss, sample_size, log = criterion(model, sample)
        loss.backward()
        assert loss.item() == pytest.approx(expected, rel=1e-7) and sample_size == sample["ntokens"]
        assert log["too_long"] == sum(size > most for size in sizes.values())


WRONG = {
    ("--teacher-vocabulary", "same"): "--teacher-spm is for a teacher of other subwords",
    ("--teacher-cache", "x"): "does not go with --teacher-cache: leave out one",
    ("--assume-same-dictionary",): "does not go with --assume-same-dictionary",
}


@pytest.mark.parametrize("more", list(WRONG))
def test_options_that_do_not_go_together(two_vocabularies: Path, more: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=WRONG[more]):
        build(two_vocabularies / "student" / "data-bin", *options(two_vocabularies, "aligned", *more))


def test_how_text_is_joined_for_no_teacher(two_vocabularies: Path) -> None:
    with pytest.raises(UserError, match=r"--student-post-process none: joins text .* give --teacher-spm"):
        build(two_vocabularies / "student" / "data-bin", *KD, "--student-post-process", "none")


def test_uld_has_no_kept_symbols(two_vocabularies: Path) -> None:
    with pytest.raises(UserError, match="uld does not go with --kd-top-k"):
        build(two_vocabularies / "student" / "data-bin", *options(two_vocabularies, "uld", "--kd-top-k", "5"))


def test_another_vocabulary_needs_its_sentencepiece_model(two_vocabularies: Path) -> None:
    with pytest.raises(UserError, match=r"--teacher-vocabulary aligned needs the sentencepiece model .* --teacher-spm"):
        build(two_vocabularies / "student" / "data-bin", *KD, "--teacher-vocabulary", "aligned")


@pytest.mark.parametrize("criterion", ["hybrid_kd", "f_distill", "pre_distill"])
def test_other_criterions_need_the_students_vocabulary(two_vocabularies: Path, criterion: str) -> None:
    spm = str(two_vocabularies / "teacher" / "spm.model")
    words = ("--task", "translation_kd", "--criterion", criterion, "--teacher-spm", spm, "--distilled-data", "x")
    with pytest.raises(UserError, match=f"--criterion {criterion} needs a teacher of the student's vocabulary"):
        build(two_vocabularies / "student" / "data-bin", *words)


def test_a_sentencepiece_model_that_is_not_the_teachers(two_vocabularies: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "spm.model"
    for content, message in ((None, "no such file"), ("text", "not a sentencepiece model")):
        if content:
            wrong.write_text(content)
        words = [*options(two_vocabularies, "aligned"), "--teacher-spm", str(wrong)]
        task, _, _ = build(two_vocabularies / "student" / "data-bin", *words)
        with pytest.raises(UserError, match=f"--teacher-spm .*spm.model: {message}"):
            task.load_dataset("valid")


def test_pieces_that_the_teacher_does_not_know(two_vocabularies: Path, tiny_text: Path) -> None:
    """The words' dictionary in place of the teacher's."""
    words = (*options(two_vocabularies, "aligned"), "--teacher-data", str(two_vocabularies / "words" / "data-bin"))
    task, _, _ = build(two_vocabularies / "student" / "data-bin", *words)
    with pytest.raises(UserError, match=r"not the teacher's model: its source dictionary lacks \d+% of the pieces"):
        task.load_dataset("valid")


@pytest.mark.parametrize(("data", "option"), [("student", "none"), ("words", "sentencepiece")])
def test_other_symbols_than_the_option_says(two_vocabularies: Path, data: str, option: str) -> None:
    words = options(two_vocabularies, "aligned", "--student-post-process", option)
    task, _, _ = build(two_vocabularies / data / "data-bin", *words)
    with pytest.raises(UserError, match=f"--student-post-process {option}: "):
        task.load_dataset("valid")


def test_no_common_boundary_is_one_line(two_vocabularies: Path) -> None:
    """Sentences of one word, which the teacher does not cut and the student does."""
    task, _, _, _ = setup(two_vocabularies, "aligned")
    text = task.datasets["valid"].text
    student = SentencePieceProcessor(model_file=str(two_vocabularies / "student" / "spm.model"))
    words = set((two_vocabularies / "text" / "train.tgt").read_text().split())
    cut = {word: student.encode(word, out_type=str) for word in words}
    rows = [
        task.target_dictionary.encode_line(" ".join(pieces), add_if_not_exist=False).long()
        for word, pieces in cut.items()
        if len(pieces) > 1 and len(text.models[1].encode(word)) == 1
    ]
    assert rows
    with pytest.raises(UserError, match=r"none of the first \d+ rows of valid has a common boundary"):
        check_boundaries(task.cfg, "valid", [text.row(row, row) for row in rows])
    check_boundaries(task.cfg, "valid", [task.datasets["valid"].row(row) for row in range(3)])
