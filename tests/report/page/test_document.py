"""The HTML file: what stands in it, and what it forbids."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

from fairseq_kd.report.page.document import bokeh_library, document

NAMESPACES = ("http://www.w3.org",)
"""Names that look like addresses; nothing is loaded from them."""
READ = r"bokeh|jquery|tabler|github|developers\.google|foretags"
"""Addresses in comments, licences, and links that a reader would have to click."""


def test_no_address_of_a_network_stands_in_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\bcdn\.|jsdelivr|unpkg", text)
    assert re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", text) is None
    assert not re.search(r"""(?:import|importScripts|fetch)\(\s*["'`]https?:""", text)
    for address in set(re.findall(r"(?:https?|wss?)://[\w.-]+\.[a-z]{2,}", text)):
        assert address.startswith(NAMESPACES) or re.search(READ, address)
    assert page.stat().st_size < 1_600_000


def test_only_the_pages_own_scripts_may_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    allowed = re.findall(r"'sha256-([^']*)'", policy)
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert allowed == hashes and len(scripts) == 2
    assert policy.startswith("default-src 'none'; ") and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("style-src")[0] and text.index("Content-Security-Policy") < text.index(
        "<title"
    )


def test_the_note_on_p_says_what_the_table_says(page: Path) -> None:
    """:func:`p_over_seeds` makes both."""
    text = page.read_text(encoding="utf-8")
    assert "with several seeds it draws sentences and seeds together" in text and "largest over the pairs" not in text


def test_the_report_comes_back_from_the_page() -> None:
    content = {"title": "</title><script>x</script>", "text": "\u2028 \ud800 </script> <!-- é 漢"}
    text = document(content)
    (packed,) = re.findall(r'id="data">([^<]*)<', text)
    found = gzip.decompress(base64.b64decode(packed)).decode("utf-8", "surrogatepass")
    assert json.loads(found) == content
    assert "<title>&lt;/title&gt;&lt;script&gt;" in text
    assert document(content) == text


def test_the_library_cannot_end_its_script() -> None:
    assert not re.search("<(/script|!--)", bokeh_library(), flags=re.IGNORECASE)
