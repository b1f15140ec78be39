"""Figures of matplotlib as SVG elements of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import StringIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from surgrad.report.palette import variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
TIP = "tip:"
"""A line whose gid starts with this gets the rest of the gid as its tooltip."""
FONT = {"font.size": 9.5}
"""The letters of every plot."""


def drawing(**more: object) -> AbstractContextManager[None]:
    """The settings for drawing and saving all figures, independent of the user's own settings of matplotlib."""
    from matplotlib import style

    fixed = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "text.parse_math": False,  # a name with dollar signs is not a formula
        "svg.fonttype": "none",
        "svg.hashsalt": "surgrad",
        "axes.unicode_minus": True,
        "path.simplify_threshold": 0.2,
    }
    return style.context(["default", {**fixed, **more}])


def inline(figure: Figure, key: str, title: str) -> str:
    """The figure as an SVG element: coloured by CSS, every id prefixed by `key`, the same bytes each time."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :].rstrip()
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, flags=re.S)  # it would style the whole page
    body = _unique_ids(body, key)
    body = _themed(body)
    body = _rounded(body)
    return _with_title(body, title)


def _unique_ids(body: str, key: str) -> str:
    """Rename the ids that something refers to, and drop all others: the ids of a page must be unique. A gid that begins
    with `TIP` becomes a tooltip."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(body)
    used = dict.fromkeys(name for element in root.iter() for name in _referred(element))
    names = {old: f"{key}-{place}" for place, old in enumerate(used)}
    for element in [*root.iter()]:
        own = element.attrib.pop("id", "")
        if own in names:
            element.set("id", names[own])
        if own.startswith(TIP):
            tip = ElementTree.Element(f"{{{SVG}}}title")
            tip.text = own.removeprefix(TIP)
            element.insert(0, tip)
        for attribute, value in element.attrib.items():
            for old in _references(value, attribute):
                value = value.replace(f"#{old}", f"#{names[old]}")
            element.set(attribute, value)
    return ElementTree.tostring(root, encoding="unicode")


def _referred(element: ElementTree.Element) -> Iterator[str]:
    """The ids to which an element's attributes refer."""
    for attribute, value in element.attrib.items():
        yield from _references(value, attribute)


def _references(value: str, attribute: str) -> list[str]:
    """The ids to which the value of an attribute refers."""
    if attribute.endswith("href"):
        return [value.removeprefix("#")] if value.startswith("#") else []
    return re.findall(r"url\(#([^)]+)\)", value)


def _themed(body: str) -> str:
    names = variables()

    def theme(style: re.Match[str]) -> str:
        return re.sub(r"#fe([0-9a-f]{4})", lambda match: f"var(--{names[int(match[1], 16)]})", style[0])

    return re.sub(r'style="[^"]*"', theme, body)


def _rounded(body: str) -> str:
    """Round coordinates to hundredths of a point; six decimals would double the size of the page."""

    def shorten(attribute: re.Match[str]) -> str:
        return re.sub(r"(\d+\.\d{2})\d+", r"\1", attribute[0])

    body = re.sub(r'\s(?:d|x|y|width|height|transform)="[^"]*"', shorten, body)
    return re.sub(r"\s*\n\s*", "\n", body)


def _with_title(body: str, title: str) -> str:
    from markupsafe import escape

    box = re.search(r'viewBox="[^"]*"', body)
    start = f'<svg role="img" aria-label="{escape(title)}" {box[0] if box else ""}>'
    body = body.replace("xlink:href", "href")
    return re.sub(r"^<svg[^>]*>", lambda _: start, body)
