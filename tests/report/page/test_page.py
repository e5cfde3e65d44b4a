"""The page in a real browser: sort, compare, hover, filter, search, hostile text, no network."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.evaluate.scoring.scores import Scoring, score_text
from fairseq_kd.report import report
from fairseq_kd.report.front import pareto_front
from fairseq_kd.report.measures import measures
from fairseq_kd.report.score_table import build_table
from tests.report.page.conftest import SOURCES, some_results, write_results
from tests.support.browser import WAIT, Browser
from tests.support.results import REFERENCES, scored

HOSTILE = (
    "<script>window.hit = 1</script> </script><script>window.hit = 2</script>",
    "\"><img src=x onerror='window.hit = 3'> <!-- <script> --> ]]>",
    "'); window.hit = 4; (' \\\\ \\u003c & &lt;b&gt; `${window.hit = 5}`",
    "a\u2028b\u2029c \x85 😀 $$x$$ @name{safe} javascript:alert(1)",
)
SHADOW = """
(() => { const texts = []; const walk = (root) => { for (const one of root.querySelectorAll('*')) if (one.shadowRoot) {
  texts.push(...[...one.shadowRoot.querySelectorAll('.bk-tooltip-row-value')].map((cell) => cell.textContent.trim()));
  walk(one.shadowRoot); } }; walk(document); return texts; })()
"""
"""The values that Bokeh's tooltips show."""


def column(browser: Browser, number: int, place: str = "#scores") -> list[str]:
    """The cells of a column, in the order shown."""
    return browser.texts(f"{place} tbody tr > :nth-child({number + 1})")


def heading(text: str, place: str = "#scores") -> str:
    return (
        f"[...document.querySelectorAll('{place} thead button')].find((one) => one.textContent === {json.dumps(text)})"
    )


def content(browser: Browser, selector: str) -> list[str]:
    """The exact text of all elements that a CSS selector finds."""
    found: list[str] = browser.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)"
    )
    return found


def hover(browser: Browser, spot: str, name: str) -> list[str]:
    """Rest the pointer on a point of the first picture until its box names a row; returns the lines of the box.

    ``spot`` is JavaScript for the point's two coordinates.
    """
    browser.place("document.querySelector('#speed .picture')")
    end = time.monotonic() + WAIT
    while name not in (values := browser.run(SHADOW)):
        assert time.monotonic() < end, f"the box has {values}, but not {name}"
        x, y = browser.run(
            f"(() => {{ const view = Bokeh.index.roots[0], spot = {spot};"
            " const box = view.canvas_view.el.getBoundingClientRect();"
            " return [box.x + view.frame.x_scale.compute(spot[0]), box.y + view.frame.y_scale.compute(spot[1])]; })()"
        )
        for move in (3, 0):
            browser.move(x - move, y)
        time.sleep(0.1)
    return values


def shown(browser: Browser) -> list[int]:
    """The sentences shown, in their order."""
    return browser.run("[...document.querySelectorAll('article')].map((one) => Number(one.dataset.sentence))")


def test_sort(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.texts("h1") == ["Some rows"]
    names = ["Teacher", "Baseline", "Student", "Slow"]
    assert column(browser, 0) == names
    browser.click(heading("BLEU, beam 5"))
    scores = [float(text.split()[0]) for text in column(browser, 4)]
    assert scores == sorted(scores, reverse=True) and column(browser, 0) == ["Teacher", "Student", "Slow", "Baseline"]
    assert browser.run("document.querySelector('#scores th[aria-sort=descending]').innerText").startswith(
        "BLEU, beam 5"
    )
    browser.click(heading("BLEU, beam 5"))
    assert column(browser, 0) == ["Baseline", "Slow", "Student", "Teacher"]
    browser.click(heading("row"))
    assert column(browser, 0) == sorted(names)
    assert "seeds ± " in column(browser, 4)[names.index("Student")]
    assert browser.complaints() == []


def test_the_baseline_picked_in_the_page_gives_the_tables_figures(
    browser: Browser, page: Path, files: list[Path]
) -> None:
    browser.open(page)
    browser.click(heading("Δ BLEU, beam 1"))
    for baseline in ("Baseline", "Teacher", "Slow"):
        browser.choose("#baseline", baseline)
        made = build_table([one for one in files if one.suffix == ".json"], baseline=baseline)
        wanted = {}
        for row in made["rows"]:
            beam = row["beams"]["1"]
            wanted[row["name"]] = f"{beam['delta']:+.2f}\np = {beam['p']:.3f}" if "delta" in beam else "baseline"
        found = dict(zip(column(browser, 0), column(browser, 3), strict=True))
        assert {name: text.replace("−", "-").replace("+0.00", "-0.00") for name, text in found.items()} == {
            name: text.replace("+0.00", "-0.00") for name, text in wanted.items()
        }
        assert list(found)[-1] == baseline  # sorted by the new differences, and the baseline has none


def test_notes_of_the_scores_stand_below_them(browser: Browser, tmp_path: Path) -> None:
    lines = [line.upper() for line in REFERENCES]
    scores = score_text(lines, REFERENCES, Scoring(lowercase=True)) | {"hypotheses": lines}
    made = [scored("Teacher", 30, lowercase=True), scored("Fast", 30, lowercase=True, precision="int8")]
    for one in made:
        one["beams"] = {beam: found | scores for beam, found in one["beams"].items()}
    report([one for one in write_results(tmp_path, made) if one.suffix == ".json"], tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    notes = browser.texts("#scores .note")
    assert "BLEU and chrF take upper and lower case as the same (evaluate --lowercase)." in notes
    assert any(note.startswith("Rows were decoded in different ways. Teacher: fairseq in float32") for note in notes)
    assert browser.complaints() == []


def test_hover_names_the_point(browser: Browser, page: Path, files: list[Path]) -> None:
    made = build_table([one for one in files if one.suffix == ".json"])
    measure = measures(made)[0]
    points = {(row["name"], beam): row["beams"][beam]["bleu"]["mean"] for row in made["rows"] for beam in row["beams"]}
    places = [(measure.values[name][beam], score) for (name, beam), score in points.items()]
    front = [list(points)[place] for place in pareto_front(places)]
    assert ("Teacher", "1") in front and ("Slow", "5") not in front
    browser.open(page)
    browser.wait("document.querySelector('#speed .picture').dataset.drawn")
    assert browser.texts("#speed .chip") == ["Teacher", "Baseline", "Student", "Slow"]
    for name, beam in (("Teacher", "1"), ("Slow", "5")):
        spot = measure.values[name][beam], points[name, beam]
        values = hover(browser, f"[{spot[0]}, {spot[1]}]", name)
        assert values[:2] == [name, beam] and values[2].startswith(f"{spot[1]:.2f} ± ")
        assert values[-1] == ("yes" if (name, beam) in front else "no")


def test_a_name_in_the_legend_hides_its_points(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.wait("document.querySelector('#speed .picture').dataset.drawn")
    visible = "Bokeh.index.roots[0].model.renderers.filter((one) => !one.visible).length"
    assert browser.run(visible) == 0
    browser.click("document.querySelector('#speed .chip')")
    assert browser.run(visible) == 3 and browser.run("document.querySelector('#speed .chip').ariaPressed") == "false"
    browser.choose("#speed-choice", "non-zero parameters (millions), fewer is better")
    browser.wait("document.querySelector('#speed .picture').id === 'speed-picture-1'")
    assert browser.complaints() == []


def test_sentences_are_ordered_and_filtered(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.texts("#count") == ["30 of 30 sentences"] and shown(browser) == list(range(20))
    browser.click("document.querySelector('#more')")
    assert shown(browser) == list(range(30)) and browser.texts("#more") == []
    results = some_results()
    teacher, baseline = (one["beams"]["5"]["hypotheses"] for one in results[:2])
    wrong = [row for row in range(30) if teacher[row] != baseline[row]]
    browser.choose("#order", "largest loss first")
    browser.choose("#of", "Baseline")
    assert sorted(shown(browser)[: len(wrong)]) == wrong
    assert "loses" in browser.texts("article h3")[0]
    browser.choose("#order", "longest first")
    lengths = [len(SOURCES[row]) for row in shown(browser)]
    assert lengths == sorted(lengths, reverse=True) and browser.texts("#of") == []
    browser.choose("#order", "random")
    first = shown(browser)
    browser.click("document.querySelector('#again')")
    assert shown(browser) != first and len(set(first)) == 20
    browser.choose("#order", "as in the test set")
    browser.type("#search", "SLEEPY")
    assert shown(browser) == [
        row
        for row in range(30)
        if any("sleepy" in one["beams"]["5"]["hypotheses"][row] for one in results[:3] + results[4:])
    ]
    assert browser.texts("#count") == [f"{len(shown(browser))} of 30 sentences"]


def test_a_sentence_has_all_texts_and_its_differences_are_marked(
    browser: Browser, page: Path, files: list[Path]
) -> None:
    browser.open(page)
    card = "article[data-sentence='0'] "
    assert browser.texts(card + "dt")[:2] == ["Source", "Reference"]
    assert browser.texts(card + ".source dd") == [SOURCES[0]] and browser.texts(card + ".reference dd") == [
        REFERENCES[0]
    ]
    chrf = json.loads(files[3].read_text().splitlines()[0])["beams"]["5"]["chrf"]
    assert f"chrF {chrf:.1f}" in browser.texts(card + "dt")[3] and browser.texts(card + "dt")[3].startswith("Baseline")
    assert browser.texts(card + ".row:nth-child(4) ins") == ["sleepy"]
    assert browser.texts(card + ".row:nth-child(4) del") == ["lazy"]
    browser.click("document.querySelector('#missing')")
    assert browser.texts(card + "del") == []
    assert browser.texts(card + ".row:nth-child(4) dd") == [REFERENCES[0].replace("lazy", "sleepy")]
    browser.choose("#beside", "Baseline")
    assert browser.texts(card + "ins") == []
    browser.run("[...document.querySelectorAll('#sentences .chip')].find((one) => one.innerText === 'Slow').click()")
    assert len(browser.texts(card + ".row")) == 3
    browser.choose("#training", "2")
    student = some_results()[3]["beams"]["5"]["hypotheses"]
    assert browser.texts("article[data-sentence='4'] .row:nth-child(5) dd") == [student[4]]
    # The other rows do not have this seed, and say which they show.
    assert ["seed 1" in text for text in browser.texts(card + ".row dt")] == [True, True, False]


def test_hostile_text_is_shown_and_never_runs(browser: Browser, tmp_path: Path) -> None:
    texts = [HOSTILE[row % len(HOSTILE)] for row in range(30)]
    made: list[dict[str, Any]] = []
    for number, name in enumerate(HOSTILE):
        one = scored(name, 3, references=texts, seed=1)
        lines = [f"{number} {text}" for text in texts]
        one["beams"] = {beam: {**found, "hypotheses": lines} for beam, found in one["beams"].items()}
        made.append(one)
    output = tmp_path / "report.html"
    report(write_results(tmp_path, made, sources=texts), output, title=HOSTILE[0] + HOSTILE[1], teacher=HOSTILE[1])
    text = output.read_text(encoding="utf-8")
    assert "window.hit" not in text.replace("&lt;", "<").split("</title>")[1]  # the page holds no text of a corpus
    assert text.count("<script") == text.count("</script>") == 3 and "<!--" not in text
    browser.open(output)
    browser.wait("document.querySelector('#speed .picture').dataset.drawn")
    assert browser.run("document.title") == " ".join((HOSTILE[0] + HOSTILE[1]).split())
    assert content(browser, "article:nth-child(3) dd")[:2] == [HOSTILE[2]] * 2
    assert content(browser, "#scores tbody th") == list(HOSTILE)
    browser.click("document.querySelector('#missing')")
    assert content(browser, "article .row dd")[:4] == [f"{number} {HOSTILE[0]}" for number in range(4)]
    point = "(({x, y}) => [x[0], y[0]])(Bokeh.index.roots[0].model.renderers.at(-1).data_source.data)"
    assert hover(browser, point, HOSTILE[-1])
    assert browser.run("window.hit === undefined")
    assert browser.complaints() == []
    assert [one for one in browser.requests() if not one.startswith("data:")] == [output.as_uri()]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    browser.wait("document.querySelector('#speed .picture').dataset.drawn")
    assert browser.run("document.documentElement.scrollWidth") == width
    wide = browser.run(
        "[...document.querySelectorAll('main *')].filter((one) => !one.closest('.scroll') && !one.closest('nav')"
        f" && one.getBoundingClientRect().right > {width} + 1).length"
    )
    assert wide == 0
    assert browser.run("document.querySelector('#speed .picture').clientWidth") > 0.8 * min(width, 1240)


def test_the_page_asks_for_nothing(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("fetch('data:,x').then(() => 1, () => 0)")
    assert browser.run("fetch('https://example.org/').then(() => 1, () => 0)") == 0
    found = browser.run(
        "new Promise((done) => { const one = document.createElement('script'); one.textContent = 'window.hit = 9';"
        " document.body.append(one); done(window.hit === undefined); })"
    )
    assert found is True
