"""matplotlib figures as SVG that can stand inside a page, beside others."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from io import StringIO
from typing import TYPE_CHECKING

from surgrad.report.palette import variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIP = "tip:"
"""A line whose gid starts so gets the rest as its tooltip."""


def drawing(**more: object) -> AbstractContextManager[None]:
    """The settings all figures are drawn and saved under, whatever the user's own matplotlib settings are."""
    from matplotlib import style

    fixed = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "text.parse_math": False,  # a name with dollar signs is no formula
        "svg.fonttype": "none",
        "svg.hashsalt": "surgrad",
        "axes.unicode_minus": True,
        "path.simplify_threshold": 0.2,
    }
    return style.context(["default", {**fixed, **more}])


def inline(figure: Figure, key: str, title: str) -> str:
    """`figure` as an SVG element: themed by CSS, every id prefixed by `key`, the same bytes each time."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :].rstrip()
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, flags=re.S)  # it would style the whole page
    body = _own_ids(body, key)
    body = _themed(body)
    body = _short(body)
    return _head(body, title)


def _own_ids(body: str, key: str) -> str:
    """Ids that something refers to are renamed, all others dropped: a page's ids must be unique."""
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    names = {old: f"{key}-{place}" for place, old in enumerate(used)}

    def rename(match: re.Match[str]) -> str:
        old = match[1]
        return f' id="{names[old]}"' if old in names else ""

    body = re.sub(rf'<g id="{TIP}([^"]*)">', r"<g><title>\1</title>", body)
    body = re.sub(r'\sid="([^"]*)"', rename, body)
    return re.sub(r'(url\(#|href="#)([^)"]+)', lambda match: match[1] + names[match[2]], body)


def _themed(body: str) -> str:
    names = variables()

    def theme(style: re.Match[str]) -> str:
        return re.sub(r"#fe([0-9a-f]{4})", lambda match: f"var(--{names[int(match[1], 16)]})", style[0])

    return re.sub(r'style="[^"]*"', theme, body)


def _short(body: str) -> str:
    """Hundredths of a point are finer than any screen; six decimals would double the page."""

    def shorten(attribute: re.Match[str]) -> str:
        return re.sub(r"(\d+\.\d{2})\d+", r"\1", attribute[0])

    body = re.sub(r'\s(?:d|x|y|width|height|transform)="[^"]*"', shorten, body)
    return re.sub(r"\s*\n\s*", "\n", body)


def _head(body: str, title: str) -> str:
    from markupsafe import escape

    box = re.search(r'viewBox="[^"]*"', body)
    start = f'<svg role="img" aria-label="{escape(title)}" {box[0] if box else ""}>'
    body = body.replace("xlink:href", "href")
    return re.sub(r"^<svg[^>]*>", lambda _: start, body)
