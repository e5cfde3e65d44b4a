"""The table of hand-made results: grouping, differences, notes, and what it refuses."""

import json
import re

import pytest
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from fairseq_kd import cli
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.scores import Scoring, score_text
from fairseq_kd.report import table as make_table
from fairseq_kd.report.gap import gap_section
from fairseq_kd.report.measures import measures
from fairseq_kd.report.page.cells import score_table as score_cells
from fairseq_kd.report.page.provenance import table_facts
from fairseq_kd.report.pictures.table import as_text
from fairseq_kd.storage.structured import read_json
from tests.support.results import BAD, REFERENCES, result, spoil


def test_rows_keep_their_order_and_seeds_are_grouped(table):
    runs = [
        result("z student", 1, BAD),
        result("teacher", None, spoil(REFERENCES, 5)),
        result("z student", 2, spoil(BAD, 2)),
    ]
    text, content, folder = table(runs, "--teacher", "teacher", "--title", "A title")
    assert [row["name"] for row in content["rows"]] == ["z student", "teacher"]
    bleu = content["rows"][0]["beams"]["5"]["bleu"]
    values = [run["beams"]["5"]["bleu"]["score"] for run in (runs[0], runs[2])]
    assert bleu["values"] == values and bleu["mean"] == pytest.approx(sum(values) / 2)
    assert bleu["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert f"| z student | 1.23 | {bleu['mean']:.2f} ± {bleu['sd']:.2f} |" in text
    assert text.startswith("# A title\n") and "Δ" not in text and "Training seeds: z student 1, 2." in text
    assert content["rows"][1]["beams"]["5"]["bleu"]["sd"] is None
    assert (folder / "table.md").read_text() == text
    assert (folder / "table.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir()) == ["speed.png", "table.json", "table.md", "table.png"]


def test_differences_from_the_baseline(table):
    good = spoil(REFERENCES, 5)
    text, content, _ = table(
        [result("base", 1, BAD), result("good", 1, good), result("same", 1, BAD)], "--baseline", "base"
    )
    base, better, same = (row["beams"]["1"] for row in content["rows"])
    assert "delta" not in base
    assert better["delta"] == pytest.approx(better["bleu"]["mean"] - base["bleu"]["mean"]) and better["p"] < 0.01
    assert same["delta"] == 0 and same["p"] == 1
    assert "+0.00 (p = 1.000)" in text and "paired bootstrap (1000 resamples, seed 12345)" in text
    assert content["signature"]["bootstrap"] == {"test": "paired bootstrap", "samples": 1000, "seed": 12345}


def test_with_seeds_p_is_over_sentences_and_seeds(table):
    good = spoil(REFERENCES, 5)
    runs = [result("base", 1, BAD), result("base", 2, good), result("good", 2, good), result("good", 1, good)]
    text, content, _ = table(runs, "--baseline", "base")
    figures = content["rows"][1]["beams"]["5"]
    assert figures["p_values"][0] == 1 and figures["p_values"][1] < 0.01
    # The baseline's two seeds differ by as much as the rows do.
    assert 0.05 < figures["p"] < 0.5
    assert "draws sentences and seeds together" in text


def test_a_row_of_several_seeds_has_the_means_of_their_rates_and_intervals(table):
    runs = [result("a", 1, BAD), result("a", 2, spoil(REFERENCES, 2))]
    for run, rate in zip(runs, (10.0, 40.0), strict=True):
        rates = {"sentences_per_second": rate, "target_tokens_per_second": 10 * rate}
        run["beams"] = {beam: {**figures, **rates} for beam, figures in run["beams"].items()}
    (row,) = table(runs)[1]["rows"]
    alone = [table([run])[1]["rows"][0]["beams"]["5"]["bleu"]["interval"] for run in runs]
    assert row["beams"]["5"]["bleu"]["interval"] == pytest.approx(sum(alone) / 2) and alone[0] != alone[1]
    assert [row["beams"]["5"][name] for name in rates] == [25, 250]


def test_the_seconds_beside_a_gap_are_a_mean_over_trainings():
    rows = [
        {"name": name, "beams": {"1": {"bleu": {"mean": bleu}}}, "training": [{"seconds": one} for one in seconds]}
        for name, bleu, seconds in (("base", 10.0, [7]), ("student", 15.0, [100, 300]), ("teacher", 20.0, [9]))
    ]
    assert "| student | 50% | 200 |" in gap_section({"rows": rows, "teacher": "teacher", "baseline": "base"})


def test_how_much_of_the_gap_is_closed(table):
    runs = [result("base", 1, BAD), result("student", 1, spoil(REFERENCES, 3)), result("teacher", None, REFERENCES)]
    options = ("--baseline", "base", "--teacher", "teacher")
    text, content, _ = table(runs, *options)
    base, student, teacher = (row["beams"]["1"]["bleu"]["mean"] for row in content["rows"])
    share = f"{100 * (student - base) / (teacher - base):.0f}%"
    assert f"| student | {share} | {share} |" in text.split("## How much of the gap to teacher is closed")[1]
    assert "How much" not in table(runs, "--baseline", "base")[0]
    swapped = [runs[2] | {"name": "base"}, runs[1], runs[0] | {"name": "teacher"}]
    assert "How much" not in table(swapped, *options)[0]  # a teacher that is no better


def test_a_beam_without_a_gap_hides_no_other(table):
    """A teacher that is no better in greedy search alone."""
    runs = [result("base", 1, BAD), result("student", 1, spoil(REFERENCES, 3)), result("teacher", None, REFERENCES)]
    runs[2]["beams"] = {"1": runs[0]["beams"]["1"], "5": runs[2]["beams"]["5"]}
    text, _, _ = table(runs, "--baseline", "base", "--teacher", "teacher")
    (line,) = (line for line in text.split("is closed")[1].splitlines() if line.startswith("| student"))
    assert re.fullmatch(r"\| student \| – \| \d+% \|", line)


def test_a_single_run_is_held_against_every_seed(table):
    runs = [result("base", 1, BAD), result("base", 2, BAD), result("teacher", None, REFERENCES)]
    _, content, _ = table(runs, "--baseline", "base")
    assert len(content["rows"][1]["beams"]["1"]["p_values"]) == 2


def test_json_holds_no_text_and_no_paths(table, tmp_path):
    config = tmp_path / "experiment.yaml"
    config.write_text("seeds: [1]\n")
    text, content, _ = table([result("a|b", 1, BAD)], "--config", str(config))
    raw = json.dumps(content)
    assert "fox" not in raw and "secret" not in raw and str(tmp_path) not in raw
    assert content["signature"]["config"]["name"] == "experiment.yaml"
    assert content["signature"]["models"] == {"a|b": [{"seed": 1, "sha256": ["a|b1"]}]}
    assert "| a\\|b |" in text and "experiment.yaml" in text and "Some CPU, 2 threads" in text


def changed_signature():
    run = result("b", 1, BAD)
    run["beams"]["1"]["bleu"]["signature"] = "other"
    return run


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        (result("b", 1, BAD, references=BAD), [], r"1\.json: its references differ from those of .*0\.json"),
        (result("b", 1, BAD) | {"beams": {"1": result("b", 1, BAD)["beams"]["1"]}}, [], r"1\.json: its beams differ"),
        (changed_signature(), [], r"1\.json: scored in another way"),
        (result("a", 1, BAD), [], r"1\.json: a second 'a' with seed 1"),
        (result("a", 2, BAD, parameters=5), [], r"1\.json: its model has another size"),
        (result("b", 1, BAD), ["--baseline", "c"], r"--baseline 'c': no such row; the rows are: a, b"),
        (result("b", 1, BAD), ["--teacher", "c"], r"--teacher 'c': no such row; the rows are: a, b"),
        (result("b", 1, BAD), ["--config", "/nowhere.yaml"], r"--config /nowhere.yaml: no such file"),
        (result("b", 1, BAD, references=REFERENCES[1:]), [], r"1\.json: no result of fairseq-kd evaluate"),
        ({"name": "b"}, [], r"1\.json: no result of fairseq-kd evaluate"),
        ([1], [], r"1\.json: no result of fairseq-kd evaluate"),
    ],
)
def test_what_does_not_fit_together(table, tmp_path, second, options, message):
    with pytest.raises(UserError, match=message):
        table([result("a", 1, BAD), second], *options)
    assert not (tmp_path / "made").exists()


def test_a_row_decoded_with_a_shortlist_is_marked(table, tmp_path):
    """Of a shortlist and of none are two rows; a mean over both is of neither."""
    limited = [result("limited", seed, BAD, shortlist={"sha256": "0123456789abcdef", "beams": {}}) for seed in (1, 2)]
    text, content, _ = table([*limited, result("plain", 1, BAD)])
    assert content["rows"][0]["shortlist"] == "0123456789abcdef" and "shortlist" not in content["rows"][1]
    assert "| limited † | 1.23 |" in text and "| plain | 1.23 |" in text
    assert "- † decoded with a lexical shortlist: limited (SHA-256 0123456789ab…)." in text
    shown = score_cells(content)["rows"]
    assert [row[0][2:] for row in shown] == [["with a shortlist"], []]
    assert ("shortlist of limited (SHA-256)", "0123456789ab") in table_facts(content)
    assert "†" not in table([result("plain", 1, BAD)])[0]
    for other in ({}, {"shortlist": {"sha256": "other"}}):
        with pytest.raises(UserError, match=r"1\.json: decoded with another --shortlist .*'limited'.* give --name"):
            table([limited[0], result("limited", 2, BAD, **other)])


@pytest.mark.parametrize("name", ["a$_$b", "_student", "two\nlines", "5 $ or 6 $", "\\$x|y"])
def test_names_are_shown_as_they_are(table, name):
    """matplotlib reads a formula between two dollar signs, and leaves out of a legend what begins with _."""
    runs = [result(name, 1, BAD, nonzero_parameters=1_000), result("b", 1, REFERENCES, nonzero_parameters=900)]
    text, _, folder = table(runs, "--teacher", name, "--title", name, "--pruning", name, "b")
    assert sum(line.startswith("| ") for line in text.splitlines()) == 4
    assert {path.name for path in folder.iterdir()} >= {"table.png", "speed.png", "pruning.png"}
    axes = Figure().add_subplot()
    axes.plot([1, 2], label=as_text(name))
    assert [label.strip() for label in axes.get_legend_handles_labels()[1]] == [name.replace("$", "\\$")]
    assert not is_math_text(as_text(name))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"decoding": {"max_len_b": 200, "lenpen": 0.6}}, "decoding.lenpen is absent there, 0.6 here"),
        ({"precision": "int8"}, "precision is float32 there, int8 here"),
        ({"detokenize": "moses"}, "detokenize is none there, moses here"),
        ({"languages": ["fr", "de"]}, r"languages\.0 is en there, fr here"),
    ],
)
def test_rows_decoded_in_different_ways_are_told_and_a_row_has_one(table, changes, told):
    """A mean over two ways of decoding is of neither."""
    with pytest.raises(UserError, match=rf"1\.json: decoded in another way than the other 'a' \({told}\)"):
        table([result("a", 1, BAD), result("a", 2, BAD, **changes)])
    text, content, _ = table([result("a", 1, BAD), result("b", 1, BAD), result("c", 1, BAD, **changes)])
    note = next(line for line in text.splitlines() if "different ways" in line)
    assert note.startswith("- Rows were decoded in different ways. a, b: fairseq in float32, max_len_b 200, ")
    changed = {
        "decoding": "max_len_b 200, lenpen 0.6",
        "precision": "fairseq in int8",
        "detokenize": "detokenize moses",
        "languages": "fr→de",
    }
    assert changed[next(iter(changes))] in note.split("; c: ")[1]
    assert note[2:] in score_cells(content)["notes"]
    same = [result("a", 1, BAD), result("b", 1, BAD, decoding={"max_len_b": 200, "max_tokens": 9})]
    assert "different ways" not in table(same)[0]


def test_skipped_rows_are_told(table):
    """Their empty lines lower BLEU, and speeds and p(t = ŷ) are those of the other rows alone."""
    runs = [result("a", 1, BAD, skipped=0), result("b", 1, BAD, skipped=2), result("b", 2, BAD, skipped=3)]
    text, content, _ = table([*runs, result("old", 1, BAD)])
    note = (
        "Sentences that a model does not take (empty, or longer than its positions) are scored as empty lines and "
        "count in no speed and no p(t = ŷ): b 3 of 30."
    )
    assert f"\n- {note}\n" in text and note in score_cells(content)["notes"]
    assert "does not take" not in table(runs[:1])[0]


def test_rows_measured_on_different_machines_are_told(table):
    """A speed on one thread says nothing beside a speed on eight."""
    quick, gpu = {"processor": "Some CPU", "threads": 8}, {"processor": "Other", "threads": 1, "gpu": "G", "gpus": 2}
    runs = [
        result("a", 1, BAD),
        result("b", 1, BAD, machine=quick),
        result("c", 1, BAD),
        result("c", 2, BAD, machine=gpu),
    ]
    text, content, _ = table(runs)
    note = (
        "Speeds were measured on different machines; compare those of one machine alone. a: Some CPU, 2 threads; "
        "b: Some CPU, 8 threads; c: a mean over Some CPU, 2 threads and 2 × G, Other, 1 thread."
    )
    assert f"\n- {note}\n" in text and note in score_cells(content)["notes"]
    (speed,) = measures(content)
    assert speed.label == "sentences a second" and note in speed.note
    assert "different machines" in table(runs[2:])[0] and "different machines" not in table(runs[:1])[0]


def test_a_missing_seed_of_the_baseline(table):
    runs = [result(name, seed, BAD) for name, seed in (("base", 1), ("base", 2), ("b", 2), ("b", 3))]
    with pytest.raises(UserError, match="'b' has seed 3, but the baseline 'base' does not"):
        table(runs, "--baseline", "base")


def test_files_that_are_no_results(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_bytes(b'{"name": "\xff')
    for path, message in (
        (broken, "no result"),
        (tmp_path / "none.json", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            cli.main(["table", str(path), "--output", str(tmp_path / "made")])


def test_engines_and_precisions_are_told_and_speeds_compared_where_both_were_measured(table):
    compared = result("student", 1, BAD, engine="ctranslate2", precision="int8")
    for beam in compared["beams"].values():
        beam["fairseq_sentences_per_second"] = 7.5
    text, content, _ = table([result("teacher", 1, BAD), compared])
    assert content["signature"]["evaluated"]["engine"] == ["fairseq", "ctranslate2"]
    assert content["signature"]["evaluated"]["precision"] == ["float32", "int8"]
    assert "Decoded by fairseq, ctranslate2 in float32, int8." in text
    assert "| 30.0 (4.0 ×) | 30.0 (4.0 ×) |" in text and "| 30.0 | 30.0 |" in text
    assert "× is how many times as fast as fairseq's own search" in text
    assert "how many times" not in table([result("teacher", 1, BAD)])[0]


def test_the_function_returns_what_it_writes(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(result("a", 1, BAD)))
    made = make_table([tmp_path / "a.json"], tmp_path / "made", title="A title", teacher="a")
    assert made == read_json(tmp_path / "made" / "table.json")
    assert made["title"] == "A title" and made["teacher"] == "a" and made["pruning"] == []
    with pytest.raises(UserError, match="--baseline 'b': no such row"):
        make_table([tmp_path / "a.json"], tmp_path / "other", baseline="b")
    assert not (tmp_path / "other").exists()


def test_pictures_of_an_earlier_table_do_not_stay_beside_a_new_one(table, tmp_path):
    """They would show risks, gates or pruned models that the table does not have."""
    folder = tmp_path / "made" / "table"
    folder.mkdir(parents=True)
    for name in ("risks.png", "gate.png", "pruning.png", "mine.png"):
        (folder / name).write_bytes(b"of an earlier table")
    table([result("a", 1, BAD)])
    assert {path.name for path in folder.glob("*.png")} == {"table.png", "speed.png", "mine.png"}


CHINESE = [f"今天第{row}天的天气很好，我们学习机器翻译。" for row in range(30)]


def chinese(name: str, every: int, tokenize: str) -> dict:
    """A result of Chinese text with the weather gone in each ``every``-th line."""
    scoring = Scoring(tokenize, asian_ter=tokenize != "13a")
    lines = [line.replace("天气很", "") if row % every == 0 else line for row, line in enumerate(CHINESE)]
    made = result(name, 1, lines, tokenize=tokenize, references=CHINESE)
    beam = made["beams"]["1"] | score_text(lines, CHINESE, scoring)
    return made | {"beams": {"1": beam, "5": beam}}


def test_intervals_and_p_are_of_the_tokenizer_of_the_scores(table):
    runs = [chinese("base", 3, "zh"), chinese("other", 4, "zh")]
    text, content, _ = table(runs, "--baseline", "base")
    named = [(run["name"], run["beams"]["5"]["hypotheses"]) for run in runs]
    metrics = {"BLEU": BLEU(tokenize="zh", references=[CHINESE])}
    base, other = PairedTest(named, metrics, None, test_type="bs", n_samples=1000)()[1]["BLEU"]
    first, second = (row["beams"]["5"] for row in content["rows"])
    assert (first["bleu"]["mean"], first["bleu"]["interval"]) == (base.score, base.ci)
    assert (second["p"], second["bleu"]["interval"]) == (other.p_value, other.ci) and other.p_value < 1
    assert "|tok:zh|" in text and "asian:yes" in text


def test_files_of_two_tokenizers_make_no_table_and_old_files_are_13a(table):
    with pytest.raises(UserError, match="scored in another way"):
        table([chinese("a", 3, "zh"), chinese("b", 3, "13a")])
    old = chinese("b", 3, "13a")
    del old["tokenize"]
    _, content, _ = table([chinese("a", 3, "13a"), old])
    first, second = content["rows"]
    assert first["beams"]["5"]["bleu"] == second["beams"]["5"]["bleu"]


def mixed_case(name: str, every: int, lowercase: bool) -> dict:
    """A result in capitals, with the fox gone in each ``every``-th line."""
    lines = [line.replace("fox ", "") if row % every == 0 else line for row, line in enumerate(REFERENCES)]
    made = result(name, 1, lines := [line.upper() for line in lines], lowercase=lowercase)
    beam = made["beams"]["1"] | score_text(lines, REFERENCES, Scoring(lowercase=lowercase))
    return made | {"beams": {"1": beam, "5": beam}}


def test_intervals_and_p_of_caseless_scores_are_caseless_and_the_table_says_so(table):
    runs = [mixed_case("base", 3, True), mixed_case("other", 4, True)]
    text, content, _ = table(runs, "--baseline", "base")
    named = [(run["name"], [line.lower() for line in run["beams"]["5"]["hypotheses"]]) for run in runs]
    metrics = {"BLEU": BLEU(references=[[line.lower() for line in REFERENCES]])}
    base, other = PairedTest(named, metrics, None, test_type="bs", n_samples=1000)()[1]["BLEU"]
    first, second = (row["beams"]["5"] for row in content["rows"])
    assert (first["bleu"]["mean"], first["bleu"]["interval"]) == (base.score, base.ci)
    assert (second["p"], second["bleu"]["interval"]) == (other.p_value, other.ci) and 50 < base.score < other.score
    note = "BLEU and chrF take upper and lower case as the same"
    assert f"- {note}" in text and "|case:lc|" in text and note in score_cells(content)["notes"][0]
    plain, content, _ = table([mixed_case("base", 3, False)])
    assert note not in plain and score_cells(content)["notes"] == []


def test_cased_and_caseless_files_make_no_table_and_old_files_are_cased(table):
    with pytest.raises(UserError, match=r"scored in another way than .* \(bleu: .*case:mixed.*, there .*case:lc"):
        table([mixed_case("a", 3, True), mixed_case("b", 3, False)])
    old = mixed_case("b", 3, False)
    del old["lowercase"]
    _, content, _ = table([mixed_case("a", 3, False), old])
    first, second = content["rows"]
    assert first["beams"]["5"]["bleu"] == second["beams"]["5"]["bleu"]
