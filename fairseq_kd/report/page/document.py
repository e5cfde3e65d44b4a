"""The HTML file itself: its parts, and what it forbids the browser.

No text of a corpus or of a result file stands in the page as HTML or as script. All of it is one JSON object, gzipped
and in base64, and the page's own script puts it in place as text. A content security policy names the SHA-256 of each
script of the page: the browser runs no other, evaluates no string and loads nothing from a network.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

SCRIPTS = ("elements", "tables", "pictures", "words", "sentences", "page")
FETCHED = re.compile(r"https://(?:cdn|maps)\.[^\"'`\s]*")
"""Addresses in Bokeh's library from which maps, icons and formulas would be loaded; the page uses none of them."""


def document(content: dict[str, Any]) -> str:
    """The page.

    Args:
        content: what the page shows, as JSON takes it.
    """
    scripts = [bokeh_library(), "\n".join(asset(f"{name}.js") for name in SCRIPTS)]
    policy = "; ".join([
        "default-src 'none'",
        f"script-src {' '.join(map(_source, scripts))}",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
    ])  # fmt: skip
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{html.escape(content['title'])}</title>",
        f"<style>\n{asset('page.css')}</style>",
        "</head>",
        "<body>",
        '<main id="page"><p id="wait">Reading the report …</p></main>',
        "<noscript><p>This page needs JavaScript: its tables and sentences are drawn in the browser.</p></noscript>",
        f'<script type="application/octet-stream" id="data">{packed(content)}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body>",
        "</html>",
        "",
    ])  # fmt: skip


def packed(content: dict[str, Any]) -> str:
    """An object as JSON, gzipped and in base64."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0)).decode("ascii")


def asset(name: str) -> str:
    """A file that the page is made of."""
    return (files("fairseq_kd.report.page") / "assets" / name).read_text(encoding="utf-8")


def bokeh_library() -> str:
    r"""Bokeh's library in the browser, without the addresses that it could load more from.

    A script in a page ends at the first ``</script``, and ``<!--`` changes how the browser reads it. Within strings of
    JavaScript, ``<\/script`` and ``<\!--`` mean the same.
    """
    from bokeh.resources import INLINE

    text = "\n".join(INLINE.js_raw[:1])
    text = FETCHED.sub("about:blank", text)
    return re.sub(r"<(/script|!--)", r"<\\\1", text, flags=re.IGNORECASE)


def _source(script: str) -> str:
    """What a content security policy calls a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')}'"
