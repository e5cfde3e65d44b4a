"""How a table's rows were decoded: the same for all seeds of a row, and told where rows differ."""

from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.settings import differences

BATCH = "max_tokens"
"""The option of a search that changes no translation."""


def way_of(result: dict[str, Any]) -> dict[str, Any]:
    """What changes the translations of one model: languages, precision, search, and how their text is made.

    Several sources can have the same references: test sets in many languages do.
    """
    search = {key: value for key, value in result["decoding"].items() if key != BATCH}
    return {key: result[key] for key in ("languages", "precision", "detokenize", "post_process")} | {"decoding": search}


def check_way(path: Any, result: dict[str, Any], other: dict[str, Any]) -> None:
    """Check that two results of one row were decoded in the same way: a mean over two ways is of neither.

    Raises:
        UserError: they were not; the message begins with ``path`` and names what differs.
    """
    found = differences(way_of(other), way_of(result))
    if found:
        raise UserError(
            f"{path}: decoded in another way than the other {result['name']!r} ({found}); evaluate both with the same "
            "options, or give --name to evaluate"
        )


def ways_notes(table: dict[str, Any]) -> list[str]:
    """A sentence that names the rows of each way of decoding; none where all rows share one.

    Args:
        table: table.json's content; rows that an earlier version wrote do not say how they were decoded.
    """
    rows: dict[str, list[str]] = {}
    for row in table["rows"]:
        rows.setdefault(_in_words(row), []).append(row["name"])
    if len(rows) < 2:
        return []
    named = (f"{', '.join(own)}: {way}" for way, own in rows.items())
    return [f"Rows were decoded in different ways. {'; '.join(named)}."]


def skipped_notes(table: dict[str, Any]) -> list[str]:
    """A sentence that names the rows whose models did not take some sentences; none where all took all.

    Args:
        table: table.json's content; of several seeds, a row has the largest number.
    """
    found = [f"{row['name']} {row['skipped']} of {table['sentences']}" for row in table["rows"] if row.get("skipped")]
    about = (
        "Sentences that a model does not take (empty, or longer than its positions) are scored as empty lines and "
        "count in no speed and no p(t = ŷ)"
    )
    return [f"{about}: {', '.join(found)}."] if found else []


def risks_notes(table: dict[str, Any]) -> list[str]:
    """A sentence that names the rows whose risks are of other sources or lengths; none where all are of the same.

    Both follow from the positions of teacher and student: long sources are left out, and samples are cut.

    Args:
        table: table.json's content; risks that an earlier version measured do not say what they are of.
    """
    rows: dict[str, list[str]] = {}
    for row in table["rows"]:
        known = [_sampled(one) for one in row.get("risks_of", ()) if len(one) == 2]
        if known:
            rows.setdefault(" and ".join(known), []).append(row["name"])
    if len(rows) < 2 and not any(len(row.get("risks_of", ())) > 1 for row in table["rows"]):
        return []
    named = (f"{', '.join(own)}: {what}" for what, own in rows.items())
    return [f"Risks are of different sources or lengths; compare only those that agree. {'; '.join(named)}."]


def _sampled(of: dict[str, int]) -> str:
    skipped = of["skipped"]
    sources = f"without {skipped} source{'s' * (skipped != 1)}" if skipped else "all sources"
    return f"{sources}, at most {of['longest']} tokens"


def several_ways(evaluated: dict[str, list[Any]]) -> list[str]:
    """A sentence with what differs in the way of decoding of some results; none where nothing does.

    Args:
        evaluated: of a signature: the different values by key.
    """
    searches = [_options(one) for one in evaluated.get("decoding", ())]
    different = [
        f"{key} {' or '.join(evaluated[key])}"
        for key in ("precision", "detokenize", "post_process")
        if len(evaluated.get(key, ())) > 1
    ]
    if len(set(searches)) > 1:
        different.append(f"search {', or '.join(dict.fromkeys(searches))}")
    return [f"Results were decoded in different ways: {'; '.join(different)}."] if different else []


def _options(search: dict[str, Any]) -> str:
    """The options of a search that change translations."""
    return ", ".join(f"{name} {value}" for name, value in search.items() if name != BATCH)


def _in_words(row: dict[str, Any]) -> str:
    engines = " and ".join(f"{engine} in {precision}" for engine, precision in row.get("engines", ()))
    way = row.get("way")
    if way is None:
        return engines or "not recorded"
    options = [_options(way["decoding"])] if way["decoding"] else []
    text = [f"detokenize {way['detokenize']}"] if way["detokenize"] != "none" else []
    text += [f"post_process {way['post_process']}"]
    text += ["→".join(way["languages"])] if "languages" in way else []  # an earlier table lacks them
    return ", ".join([engines, *options, *text])
