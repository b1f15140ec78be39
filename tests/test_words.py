"""A short list of phrases that readers had to decode, each with the plain words to write instead.

It is applied to the documents, and to the docstrings, comments and strings of the code. It is for the worst phrases
only, not a style guide.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAIN = {
    r"\banew\b": "again",
    r"\bat hand\b": "available",
    r"\bbears\b": "has",
    r"(?<!--)\bbeside\b": "next to, compared with, in addition to",
    r"\bgo(?:es)? on\b": "continue(s)",
    r"\b(?:get|give|has|have) leave\b": "permission",
    r"\bis worth\b": "has an accuracy of, gains",
    r"\bmade-up\b": "surrogate",
    r"\bnobody\b": "no one, or the passive: 'is not written'",
    r"\bof (?:its|their|our|one's) own\b": "separate, another, or leave it out",
    r"\bso many\b": "this number of, N",
    r"\btold\b": "given, called with",
    r"\bway back\b": "backward pass",
    r"\bwherein\b": "in which",
    r"\bwhoever\b": "the caller, the part that",
    r"\bails?\b": "is wrong with",
    r"(?!there\b)\b\S+ is no (?!\w+er\b|more\b|less\b|such\b)\w+": "is not a; 'must be ..., got ...'",
}
FILES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(path for folder in ("src", "bench", "scripts") for path in (ROOT / folder).rglob("*.py")),
        *(path for folder in ("src", "bench") for path in (ROOT / folder).rglob("*.md")),
    ]
)


def words_of(path: Path) -> str:
    """The text of a document; of Python code, its comments and strings, everything else blank."""
    text = path.read_text()
    return text if path.suffix == ".md" else code_words(text)


def code_words(text: str) -> str:
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    kept = [char if char == "\n" else " " for char in text]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            begin = starts[token.start[0] - 1] + token.start[1]
            end = starts[token.end[0] - 1] + token.end[1]
            kept[begin:end] = re.sub(r"[\"'#]", " ", text[begin:end])
    return "".join(kept)


def found(text: str) -> list[str]:
    """Every phrase of the list, with its line and the plain words."""
    lines = []
    for pattern, plain in PLAIN.items():
        for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            lines.append(f"line {line}: '{' '.join(match.group().split())}'; write: {plain}")
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words(path):
    assert found(words_of(path)) == [], f"{path.relative_to(ROOT)}: choose plainer words"


def test_phrases_are_found_in_strings_and_comments_and_across_lines():
    code = 'value = told("this is"\n    " no neuron")  # the way\n# back; there is no other\n"""Counted\nanew."""\n'
    assert [line.split(";")[0] for line in found(code_words(code))] == [
        "line 5: 'anew'",
        "line 2: 'way back'",
        "line 1: 'this is no neuron'",
    ]
