"""The table of docs/how-to/teachers.md: each cell is what a test shows, and each refusal is a message of the code."""

import ast

import pytest

from tests.docs.pages import DOCS, fences
from tests.docs.test_docs import literals
from tests.support.commands import ROOT

PAGE = DOCS / "how-to" / "teachers.md"
SAME, OTHER, SEVERAL, MULTILINGUAL, FOLDER = (
    "fairseq checkpoint, the student's subwords",
    "fairseq checkpoint, other subwords",
    "several fairseq checkpoints",
    "multilingual fairseq checkpoint",
    "OPUS-MT, NLLB, M2M-100, mBART-50 or CTranslate2 folder",
)
DATA, RAW, WORD, F_DISTILL, CACHE = "Seq-KD from a data-bin", "Seq-KD from raw text", "Word-KD", "f-DISTILL", "cache"
BY_WORDS = "tasks/test_multilingual_teachers.py::test_a_bilingual_student_learns_from_it"
NO_DATA = "decoding/outside/test_kinds.py::test_cache_and_a_data_bins_decode_refuse_a_folder"
NOT_LIVE = "decoding/outside/test_kinds.py::test_training_refuses_a_folder_as_a_live_teacher"
CELLS = {
    (SAME, DATA): ("yes", "corpus/test_decode_command.py::test_the_script_makes_a_data_bin_of_distilled_rows"),
    (SAME, RAW): ("yes", "corpus/test_decode_text.py::test_the_text_as_it_was_and_its_translations"),
    (SAME, WORD): ("yes", "criterions/test_token_kd.py::test_the_loss_is_the_formula"),
    (SAME, F_DISTILL): ("yes", "criterions/test_f_distill.py::test_fairseq_train_learns"),
    (SAME, CACHE): ("yes", "corpus/test_cache_command.py::test_training_from_the_cache_is_training_from_the_teacher"),
    (OTHER, DATA): ("yes", "corpus/test_recut.py::test_the_script_with_a_students_data_bin"),
    (OTHER, RAW): ("yes", "scripts/test_teacher_workflow.py::test_a_ready_teacher_of_other_subwords"),
    (OTHER, WORD): (
        "`--teacher-vocabulary`",
        "criterions/test_other_vocabulary_training.py::test_a_student_comes_closer_to_its_teacher",
    ),
    (OTHER, F_DISTILL): (
        "no (1)",
        "criterions/test_other_vocabulary.py::test_other_criterions_need_the_students_vocabulary",
    ),
    (OTHER, CACHE): ("no (2)", "data/test_vocabulary.py::test_equal_size_in_another_order_is_refused"),
    (SEVERAL, DATA): ("yes", "corpus/test_decode_command.py::test_the_translations_are_those_of_fairseq_generate"),
    (SEVERAL, RAW): ("yes", "decoding/test_text.py::test_two_checkpoints_are_an_ensemble"),
    (SEVERAL, WORD): ("yes", "criterions/test_token_kd.py::test_several_teachers_are_the_mean_of_their_probabilities"),
    (SEVERAL, F_DISTILL): (
        "yes",
        "criterions/test_f_distill.py::test_online_samples_are_drawn_from_the_mean_of_all_teachers",
    ),
    (SEVERAL, CACHE): ("yes", "corpus/test_cache_command.py::test_loss_and_gradient_are_the_live_teachers"),
    (MULTILINGUAL, DATA): ("yes", "tasks/test_multilingual_teachers.py::test_decode_gives_what_fairseq_generate_gives"),
    (MULTILINGUAL, RAW): (
        "no (3)",
        "networks/test_teacher_tokens.py::test_it_takes_no_raw_text_and_no_student_of_other_subwords",
    ),
    **{(MULTILINGUAL, method): ("yes", BY_WORDS) for method in (WORD, F_DISTILL, CACHE)},
    (FOLDER, DATA): ("no (4)", NO_DATA),
    (FOLDER, RAW): ("yes", "decoding/outside/test_kinds.py::test_the_script_makes_a_students_data_bin"),
    (FOLDER, WORD): ("no (4)", NOT_LIVE),
    (FOLDER, F_DISTILL): ("no (4)", NOT_LIVE),
    (FOLDER, CACHE): ("no (4)", NO_DATA),
}


def test_the_table_is_what_the_tests_show() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = {(row[0], method): cell for row in rows for method, cell in zip(header[1:], row[1:], strict=True)}
    assert found == {cell: answer for cell, (answer, _) in CELLS.items()}


@pytest.mark.parametrize("test", sorted({test for _, test in CELLS.values()}))
def test_the_test_of_a_cell_exists(test: str) -> None:
    path, name = test.split("::")
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_each_refusal_is_a_message_of_the_code() -> None:
    (block,) = fences(PAGE.read_text(encoding="utf-8"), "text")
    told = dict(line.split(" ", 1) for line in block.splitlines())
    assert set(told) == {answer.removeprefix("no ") for answer, _ in CELLS.values() if answer.startswith("no ")}
    known = literals()
    parts = {part.strip() for line in told.values() for part in line.split("…")}
    assert [part for part in parts if not any(part in text for text in known)] == []
