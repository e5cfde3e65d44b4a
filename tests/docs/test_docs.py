"""The documentation names only options, links, paths and error lines that exist; the reference is that of the code."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.docs.options import FLAG, everywhere, taken_by, verbs
from tests.docs.pages import (
    DOCS,
    LINK,
    PAGES,
    anchors,
    commands,
    fences,
    make_reference,
    prose,
    relative,
    spans,
)
from tests.support.commands import ROOT

every_page = pytest.mark.parametrize("page", PAGES, ids=relative)


def test_the_reference_is_that_of_the_code() -> None:
    """`python docs/make_reference.py` mends it."""
    made = make_reference().pages()
    assert [relative(path) for path, text in made.items() if path.read_text(encoding="utf-8") != text] == []
    assert {path for path in (DOCS / "reference" / "api").iterdir() if path not in made} == set()


def test_the_reference_has_everything() -> None:
    commands_page = (DOCS / "reference" / "commands.md").read_text()
    shared = set(FLAG.findall(commands_page.split("\n## ")[0].partition("Every verb")[2]))
    assert shared == {"--verbose"}
    for verb, flags in verbs().items():
        section = commands_page.split(f"\n## {verb}\n")[1].split("\n## ")[0]
        assert {flag for flag in flags - shared - {"--help"} if f"`{flag}" not in section} == set()
    options_page = (DOCS / "reference" / "options.md").read_text()
    for flag in ("--teacher-path", "--kd-alpha", "--divergence", "--gate", "--hidden-weight", "--chunk-memory"):
        assert f"`{flag}" in options_page
    for heading in ("token_kd", "f_distill", "hybrid_kd", "pre_distill", "fused_cross_entropy"):
        assert f"\n## Criterion {heading}\n" in options_page
    # of what fairseq has in any case there is nothing
    assert "--max-tokens" not in options_page and "--source-lang" not in options_page


def test_every_room_is_in_one_wing() -> None:
    rooms = [room for wing in make_reference().WINGS.values() for room in wing]
    folders = {path.parent.name for path in (ROOT / "fairseq_kd").glob("*/__init__.py")}
    assert sorted([*rooms, "cli"]) == sorted(folders)


@every_page
def test_options_exist(page: Path) -> None:
    named = set(FLAG.findall(page.read_text(encoding="utf-8")))
    assert named - everywhere() == set()


@every_page
def test_commands_take_their_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    written = [words for block in fences(text, "bash") for words in commands(block)]
    written += [span.split() for span in spans(text) if re.match(r"(fairseq-|bash |scripts/)", span)]
    wrong = []
    for words in written:
        known = taken_by(words if not words[0].startswith("scripts/") else ["bash", *words])
        if known is not None:
            wrong += [f"{' '.join(words[:2])}: {flag}" for flag in set(FLAG.findall(" ".join(words))) - known]
    assert wrong == []


def test_mistakes_in_a_page_are_found() -> None:
    (evaluate, table, inner, train) = commands(
        "fairseq-kd evaluate --model m \\\n  --wrong 1 && fairseq-kd table x  # --not-this\n"
        'bash scripts/train.sh x --user-dir "$(fairseq-kd user-dir)" --arch y\n'
    )
    assert set(FLAG.findall(" ".join(evaluate))) - (taken_by(evaluate) or set()) == {"--wrong"}
    assert table == ["fairseq-kd", "table", "x"] and inner == ["fairseq-kd", "user-dir"]
    assert set(FLAG.findall(" ".join(train))) <= (taken_by(train) or set())
    assert "--frobnicate" not in everywhere() and "--kd-alpha" in everywhere()
    assert anchors("# A b\n\n## get_x.sh, `c`: d-e\n") == {"a-b", "get_xsh-c-d-e"}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []


@every_page
def test_rows_of_tables_have_all_cells(page: Path) -> None:
    """GitHub ends a cell at every | without a backslash, also within code, and drops cells that are too many."""
    cells, broken = 0, []
    for line in prose(page.read_text(encoding="utf-8")).splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if bars and cells not in (0, bars):
            broken.append(line)
        cells = bars and (cells or bars)
    assert broken == []


PATH = re.compile(r"(?<![\w/.])(?:scripts|configs|fairseq_kd|results|tests|docs)/[\w./*-]*")


@every_page
def test_paths_exist(page: Path) -> None:
    named = {path for span in spans(page.read_text(encoding="utf-8")) for path in PATH.findall(span)}
    named = {path.rstrip(".") for path in named if not re.search(r"[A-Z]{2}|/quickstart", path)}
    missing = [path for path in named if not list(ROOT.glob(path)) and not path.startswith("results/study_*")]
    assert missing == []


def test_every_page_is_in_the_sites_menu() -> None:
    def leaves(node: object) -> list[str]:
        if isinstance(node, str):
            return [node]
        return [leaf for one in (node.values() if isinstance(node, dict) else node) for leaf in leaves(one)]  # type: ignore[attr-defined]

    menu = leaves(yaml.safe_load((ROOT / ".mkdocs.yml").read_text())["nav"])
    assert sorted(menu) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def literals() -> list[str]:
    """The text of the package's strings, and the scripts."""
    found = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.sh")]
    for path in (ROOT / "fairseq_kd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
    return found


def test_the_error_lines_are_those_of_the_code() -> None:
    """Each part of a line between two … stands in one string of the package or in a script.

    Where this fails, a message was reworded: reword it in docs/troubleshooting.md too.
    """
    known = literals()
    lines = [line for block in fences((DOCS / "troubleshooting.md").read_text(), "text") for line in block.splitlines()]
    assert len(lines) >= 20
    parts = {part.strip() for line in lines for part in line.split("…")}
    assert sorted(part for part in parts if not any(part in text for text in known)) == []


def test_the_experiments_page_has_every_key() -> None:
    page = (DOCS / "reference" / "experiments.md").read_text()
    keys: set[str] = set()
    for path in (ROOT / "configs").rglob("*.yaml"):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        keys |= {*config, *(key for row in config["rows"].values() for key in row)}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_the_module_of_a_new_gate_passes_the_lint() -> None:
    """A page that tells how to extend the project gives code that the project takes."""
    page = (DOCS / "how-to" / "extend.md").read_text(encoding="utf-8")
    (module,) = [body for body in fences(page, "python") if "register_gate" in body]
    for words in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--stdin-filename", "fairseq_kd/gates/length.py", "-"]
        done = subprocess.run(ruff, cwd=ROOT, input=textwrap.dedent(module), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
