"""Make one HTML file of result files: tables, pictures, provenance, and the sentences side by side."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.result_file import make_place
from fairseq_kd.report.page.cells import cost_table, pair_tests, paper_table, score_table, training_table
from fairseq_kd.report.page.document import document
from fairseq_kd.report.page.files import Given, read_given
from fairseq_kd.report.page.provenance import file_facts, study_facts, table_facts
from fairseq_kd.report.page.sentences import read_sentences
from fairseq_kd.report.score_table import build_table
from fairseq_kd.storage.files import whole_file

logger = logging.getLogger(__name__)


def report(
    files: Sequence[str | Path],
    output: str | Path,
    *,
    title: str | None = None,
    baseline: str | None = None,
    teacher: str | None = None,
) -> int:
    """Write a page that needs neither a network nor a server, whole or not at all.

    Args:
        files: what `fairseq-kd table`, `study`, `evaluate`, `evaluate --save-outputs` and `risks` wrote, in any order.
            With a table.json its figures are shown; without one they are computed as `fairseq-kd table` does.
        output: the HTML file.
        title: heading; None for that of the table or of the first study.
        baseline: name of the row that the page first compares the others with; None for the table's own.
        teacher: name of the row that sentences are compared with; None for the table's own.

    Returns:
        The bytes of the page.

    Raises:
        UserError: Bokeh is missing, a file cannot be used, files do not fit together, there is no row of a given name,
            or ``output`` is a folder.
    """
    if find_spec("bokeh") is None:
        raise UserError("fairseq-kd report needs bokeh; install the extra: pip install 'fairseq-kd[report]'")
    make_place(output)
    given = read_given(files)
    table = _with_roles(_table(given), baseline, teacher)
    content = _content(given, table, files)
    content["title"] = title or content["title"]
    page = document(content).encode("utf-8", "replace")
    with whole_file(output, "wb") as handle:
        handle.write(page)
    logger.info("wrote %s (%.1f MB); open it in a browser", output, len(page) / 1e6)
    return len(page)


def _table(given: Given) -> dict[str, Any] | None:
    """The content of table.json: as given, or computed from the results; None if there are neither.

    Raises:
        UserError: the results do not fit together, or a table without risks is given with risks.
    """
    risks = given.paths["risks"]
    if given.table is not None:
        if risks and not given.table["signature"].get("risks"):
            raise UserError(f"{risks[0]}: the table has no risks; make it again with fairseq-kd table --risks")
        return given.table
    if given.paths["evaluate"]:
        return build_table(given.paths["evaluate"], risks=risks)
    if risks:
        raise UserError(f"{risks[0]}: risks of no row; give the fairseq-kd evaluate files of the models too")
    return None


def _with_roles(table: dict[str, Any] | None, baseline: str | None, teacher: str | None) -> dict[str, Any] | None:
    """The table with the baseline and the teacher that the page begins with.

    Without a baseline, that is the first row that is not the teacher's.

    Raises:
        UserError: there is no row of a given name.
    """
    names = [row["name"] for row in table["rows"]] if table else []
    for option, name in (("--baseline", baseline), ("--teacher", teacher)):
        if name is not None and name not in names:
            known = (
                f"the rows are: {', '.join(names)}" if names else "there are none without evaluate's or table's files"
            )
            raise UserError(f"{option} {name!r}: no such row; {known}")
    if table is None:
        return None
    teacher = teacher or table["teacher"]
    first = next((name for name in names if name != teacher), names[0])
    return {**table, "teacher": teacher, "baseline": baseline or table["baseline"] or first}


def _content(given: Given, table: dict[str, Any] | None, files: Sequence[str | Path]) -> dict[str, Any]:
    """All that the page shows."""
    # Bokeh is imported where it is known to be there.
    from fairseq_kd.report.page.curves import study_pictures

    content: dict[str, Any] = {"names": [], "tables": [], "speed": [], "gates": [], "risks": [], "facts": []}
    content["sentences"] = read_sentences(given, table)
    content["title"] = given.studies[0]["title"] if given.studies else "Report"
    if table is not None:
        content |= {**tables(table), **_pictures(table), "title": table["title"], "facts": table_facts(table)}
    content["studies"] = [
        {"title": study["title"], "pictures": [one.content() for one in study_pictures(study)]}
        for study in given.studies
    ]
    for study in given.studies:
        content["facts"] += study_facts(study)
    content["facts"] += file_facts(files)
    return content


def tables(table: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a table's rows, but for the pictures.

    Args:
        table: table.json's content.
    """
    made = [score_table(table), cost_table(table), training_table(table), paper_table(table)]
    rows, beams = table["rows"], table["rows"][0]["beams"]
    names = [row["name"] for row in rows]
    return {
        "names": names,
        **{role: None if table[role] is None else names.index(table[role]) for role in ("baseline", "teacher")},
        "tables": [one for one in made if one is not None],
        "means": {beam: [row["beams"][beam]["bleu"]["mean"] for row in rows] for beam in beams},
        "pairs": pair_tests(table),
    }


def _pictures(table: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The pictures of a table's rows, by section."""
    from fairseq_kd.report.measures import measures
    from fairseq_kd.report.page.curves import gate_pictures, risk_picture
    from fairseq_kd.report.page.speed import speed_picture

    risk = risk_picture(table)
    return {
        "speed": [speed_picture(table, one).content() for one in measures(table)],
        "gates": [one.content() for one in gate_pictures(table)],
        "risks": [risk.content()] if risk else [],
    }
