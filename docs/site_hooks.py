"""Hooks of the documentation site.

Pages link to files of the repository, such as `../results/README.md`, so that the links also work where the repository
is read. The site gets a copy of each linked file under `repository/`. Formulas become MathML, for
which the site needs no network.
"""

import html
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside docs/ that pages link to, and the files that those link to in turn."""
    waiting = [(f"docs/{file.src_uri}", Path(file.abs_src_path)) for file in files if file.src_uri.endswith(".md")]
    added: set[str] = set()
    while waiting:
        page, path = waiting.pop()
        for target in linked_files(page, path.read_text(encoding="utf-8")):
            if target.startswith("docs/") or target in added or not (ROOT / target).is_file():
                continue
            added.add(target)
            files.append(File.generated(config, site_path(target), abs_src_path=str(ROOT / target)))
            if target.endswith(".md"):
                waiting.append((target, ROOT / target))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links to files outside docs/ at their copies."""
    source = repository_path(page.file.src_uri)
    here = PurePosixPath(page.file.src_uri).parent

    def moved(match: re.Match[str]) -> str:
        target = resolved(source, match[2])
        return match[1] + os.path.relpath(site_path(target), here) if (ROOT / target).exists() else match[0]

    outside, position = [], 0
    for fence in FENCE.finditer(markdown):
        outside += [LINK.sub(moved, markdown[position : fence.start()]), fence[0]]
        position = fence.end()
    return "".join([*outside, LINK.sub(moved, markdown[position:])])


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, and the roles of docstrings into plain code."""
    content = re.sub(r":(?:class|func|meth|mod|attr|data):(<code>)~?", r"\1", content)
    content = re.sub(
        r'<div class="arithmatex">\\\[(.*?)\\\]</div>',
        lambda match: f'<div class="formula">{mathml(match[1], "block")}</div>',
        content,
        flags=re.DOTALL,
    )
    return re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>',
        lambda match: mathml(match[1], "inline"),
        content,
        flags=re.DOTALL,
    )


def mathml(formula: str, display: str) -> str:
    """A LaTeX formula as MathML: no space around the operator in y_{<t}, a thin one after log."""
    made = convert(html.unescape(formula), display=display)
    made = made.replace("<mi>log</mi>", '<mi>log</mi><mspace width="0.167em" />')
    return made.replace("<mo>&#x0003C;</mo>", '<mo lspace="0" rspace="0">&#x0003C;</mo>')


def linked_files(page: str, markdown: str) -> set[str]:
    """The repository paths that a page's links name."""
    return {resolved(page, match[2]) for match in LINK.finditer(FENCE.sub("", markdown))}


def resolved(page: str, link: str) -> str:
    """A link's target as a path from the repository's root."""
    return os.path.normpath(PurePosixPath(page).parent / link)


def site_path(target: str) -> str:
    """Where a file of the repository stands in the site."""
    return target.removeprefix("docs/") if target.startswith("docs/") else f"repository/{target}"


def repository_path(site: str) -> str:
    """The inverse of :func:`site_path`."""
    return site.removeprefix("repository/") if site.startswith("repository/") else f"docs/{site}"
