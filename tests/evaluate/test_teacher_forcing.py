"""Teacher-forced BLEU: of what a real model predicts after each gold prefix, one token at a time."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu
import torch

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.evaluate import evaluate
from fairseq_kd.evaluate.options import ScoreOptions
from fairseq_kd.evaluate.teacher_forcing import teacher_forced
from fairseq_kd.networks.checkpoints import build_models

pytestmark = pytest.mark.usefixtures("one_thread")


def predict(checkpoint: Path, data: Path) -> list[list[str]]:
    """The likeliest symbol after each prefix of each gold target of the test set."""
    task = open_databin(data, "test")
    (model,) = build_models([checkpoint], task)
    dataset, symbols = task.dataset("test"), task.target_dictionary
    found = []
    for row in range(len(dataset)):
        source, target = dataset.src[row], dataset.tgt[row]
        predicted = []
        for place in range(len(target)):
            prefix = torch.tensor([[symbols.eos(), *target[:place].tolist()]])
            with torch.no_grad():
                logits = model(source[None], torch.tensor([len(source)]), prefix)[0][0, -1]
            predicted.append(symbols[int(logits.argmax())])
        found.append(predicted)
    return found


@pytest.mark.parametrize("post_process", ["none", "sentencepiece"])
def test_it_is_that_of_a_loop_over_prefixes(
    tiny_teacher: Path, tiny_corpus: Path, tiny_text: Path, tmp_path: Path, post_process: str
) -> None:
    predicted = predict(tiny_teacher, tiny_corpus)
    gold = (tiny_text / "test.tgt").read_text().splitlines()
    # As many predictions as the gold target has words and its end. Some predict the end too early, others another word.
    assert [len(line) for line in predicted] == [len(line.split()) + 1 for line in gold]
    assert any("</s>" in line[:-1] for line in predicted) and any(line[-1] != "</s>" for line in predicted)
    kept = [[word for word in line if word != "</s>"] for line in predicted]
    expected = ["".join(line) if post_process == "sentencepiece" else " ".join(line) for line in kept]
    # References of the raw text, not those of the data-bin.
    references = [line.replace("t3", "T3!") for line in gold]
    (tmp_path / "references.txt").write_text("".join(f"{line}\n" for line in references))
    made = evaluate(
        tiny_teacher,
        tiny_corpus,
        beams=(1,),
        lengths=DecodingOptions(max_len_b=12, max_tokens=100),
        engine="fairseq",
        scoring=ScoreOptions(tmp_path / "references.txt", post_process=post_process),
    )
    forced, metric = made["teacher_forced"], sacrebleu.BLEU()
    assert forced["hypotheses"] == expected and "predicted" not in forced
    assert forced["bleu"]["score"] == metric.corpus_score(expected, [references]).score
    assert forced["bleu"]["signature"] == str(metric.get_signature()) == made["beams"]["1"]["bleu"]["signature"]
    assert forced["bleu"]["score"] > 1 or post_process == "sentencepiece"
    right = sum(
        word == wanted
        for line, target in zip(predicted, gold, strict=True)
        for word, wanted in zip(line, [*target.split(), "</s>"], strict=True)
    )
    assert forced["accuracy"] == pytest.approx(100 * right / sum(map(len, predicted)))


def test_rows_with_all_tokens_right_are_the_gold_rows(sure_teacher: Path, tiny_corpus: Path, tiny_text: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    found = teacher_forced(build_models([sure_teacher], task), task, "test", 4000)
    gold = (tiny_text / "test.tgt").read_text().splitlines()
    right = [count == size for count, size in zip(found["correct"], found["tokens"], strict=True)]
    assert any(right)
    assert [one == line for one, line in zip(found["predicted"], gold, strict=True)] == right


def test_rows_that_a_model_cannot_take_have_no_prediction(sure_teacher: Path, tiny_corpus: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    (model,) = build_models([sure_teacher], task)
    every = teacher_forced([model], task, "test", 4000)
    longest = int(task.dataset("test").tgt_sizes.max())
    model.decoder.max_target_positions = longest - 1
    fewer = teacher_forced([model], task, "test", 4000)
    assert fewer["predicted"] == [
        "" if size == longest else line for size, line in zip(every["tokens"], every["predicted"], strict=True)
    ]


def test_sources_that_a_model_does_not_take_are_told(
    train: Callable[..., Path], tiny_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ("--max-source-positions", "7", "--max-update", "1", "--disable-validation")
    student = train(tiny_corpus, tmp_path, *short)
    made = evaluate(student, tiny_corpus, beams=[1], scoring=ScoreOptions(post_process="none"))
    skipped = sum(length > 6 for length in made["source_lengths"])
    assert 0 < skipped == made["skipped"] == made["beams"]["1"]["hypotheses"].count("")
    message = f"{skipped} of 40 sources are empty or longer than the model's positions: they are scored as empty lines"
    assert message in caplog.text
