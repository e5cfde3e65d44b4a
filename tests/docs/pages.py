"""What the tests of the documentation read: the pages, their code, links and headings."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from tests.support.commands import ROOT

DOCS = ROOT / "docs"
OUTSIDE = ("README.md", "CONTRIBUTING.md", "results/README.md")
PAGES = sorted([ROOT / name for name in OUTSIDE] + list(DOCS.rglob("*.md")))
FENCE = re.compile(r"^ *```(?P<info>[^\n]*)\n(?P<body>.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`+([^`]+?)`+")
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]*)\)")


def prose(markdown: str) -> str:
    """A page without its fenced code."""
    return FENCE.sub("", markdown)


def fences(markdown: str, kind: str) -> list[str]:
    """The bodies of the fenced blocks whose info string is ``kind``."""
    return [match["body"] for match in FENCE.finditer(markdown) if match["info"].strip() == kind]


def spans(markdown: str) -> list[str]:
    """The inline code of a page."""
    return [" ".join(span.split()) for span in SPAN.findall(prose(markdown))]


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site name them."""
    titles = re.findall(r"^#+ (.+)$", prose(markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def commands(block: str) -> list[list[str]]:
    """The words of each command in a block of shell code, without comments; continued lines are joined."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        code = re.sub(r"(^|\s)#.*", "", line)
        inner = re.compile(r"\$\(([^()]*)\)")  # a command whose output is taken
        found += [taken.split() for taken in inner.findall(code)]
        code = inner.sub("", code)
        found += [words for part in re.split(r"&&|\|\||[|;]", code) if (words := part.split())]
    return found


@cache
def make_reference() -> ModuleType:
    """The script docs/make_reference.py as a module."""
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(path: Path) -> str:
    """The path as the repository names it."""
    return path.relative_to(ROOT).as_posix()
