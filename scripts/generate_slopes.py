"""Write the slopes of the fused kernels from the single definition of each surrogate function in surgrad.surrogates.

    python scripts/generate_slopes.py            writes both files
    python scripts/generate_slopes.py --check    writes nothing, and fails if a file would change

Each formula is traced into torch's elementary operations, and each operation is spelled in C++ and in Triton.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from surgrad.surrogates import CONSTANTS, SURROGATES, SurrogateFunction

FOLDER = Path(__file__).parent.parent / "src/surgrad/kernels/lif"
NOTE = "Written by scripts/generate_slopes.py from surgrad.surrogates; edit the surrogate functions, not this file."

# Each operation as text of its arguments; {c} is a comparison's result, which arithmetic takes as 0 or 1.
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
CALLS_CPP = {
    "abs": "std::fabs({0})",
    "exp": "exponential({0})",
    "tanh": "tangent({0})",
    "neg": "-{0}",
    "where": "{0} ? {1} : {2}",
    "rsub": "{1} - {0}",
    "reciprocal": "1.0f / {0}",
    "sign": "sign({0})",
    "clamp": "({0} < {1} ? {1} : {0})",
    "square": "{0} * {0}",
    "pow": "power({0}, {1})",
}
CALLS_TRITON = {
    "abs": "tl.abs({0})",
    "exp": "tl.exp({0})",
    "tanh": "tangent({0})",
    "neg": "-{0}",
    "where": "tl.where({0}, {1}, {2})",
    "rsub": "{1} - {0}",
    "reciprocal": "1.0 / {0}",
    "sign": "sign({0})",
    "clamp": "tl.maximum({0}, {1})",
    "square": "{0} * {0}",
    "pow": "power({0}, {1})",
}
BOOLEAN = ("lt", "le", "gt", "ge")
Speller = Callable[[str, list[Any], set[str]], str]


def traced(curve: Callable[..., torch.Tensor], surrogate: SurrogateFunction) -> torch.fx.Graph:
    values = [torch.tensor([0.3]), torch.tensor([1.0]), *(torch.tensor(c) for c in surrogate.constants)]
    names = ["x", "w", *(f"c{i}" for i in range(len(surrogate.constants)))]
    module = make_fx(lambda *given: curve(*given))(*values)
    for node, name in zip((n for n in module.graph.nodes if n.op == "placeholder"), names, strict=True):
        node.name = name
    return module.graph


MOST_ARGUMENTS = {"clamp": 2}  # a lower bound alone


def operation(node: torch.fx.Node) -> str:
    """The name of an operation; arguments that the spellings would ignore are an error."""
    name = str(node.target).split(".")[1]
    if name == "scalar_tensor":
        return name
    if node.kwargs or len(node.args) > MOST_ARGUMENTS.get(name, 3):
        raise SystemExit(f"no spelling for {name}{node.args} {node.kwargs}; write the slope with other operations")
    if name == "pow" and isinstance(node.args[1], (int, float)):
        if node.args[1] != 2:
            raise SystemExit(f"no spelling for the power {node.args[1]} of a number that may be negative")
        return "square"
    return name


def lines_of(graph: torch.fx.Graph, spell: Speller) -> tuple[list[tuple[str, str, bool]], str]:
    """([(name, expression, whether it is a comparison)], the result's name) of a traced curve."""
    lines: list[tuple[str, str, bool]] = []
    result = ""
    names = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            names[node] = node.name
        elif node.op == "call_function":
            arguments = [names.get(a, a) if isinstance(a, torch.fx.Node) else a for a in node.args]
            if operation(node) == "scalar_tensor":  # a number on its own
                names[node] = arguments[0]
                continue
            names[node] = f"t{len(lines)}"
            comparisons = {name for name, _, boolean in lines if boolean}
            text = spell(operation(node), arguments, comparisons)
            lines.append((names[node], text, operation(node) in BOOLEAN))
        elif node.op == "output":
            result = names[node.args[0]]
    return lines, result


def spelling(calls: dict[str, str], number: Callable[[float], str], choice: str, number_of: str) -> Speller:
    """choice: how to spell a comparison's 0 or 1 divided by a number; number_of: that 0 or 1 itself."""

    def spell(name: str, arguments: list[Any], comparisons: set[str]) -> str:
        texts = [a if isinstance(a, str) else number(float(a)) for a in arguments]
        if name == "div" and arguments[0] in comparisons:  # 1 / w is then computed once for all x
            return choice.format(*texts)
        if name == "mul":  # a comparison as a number
            texts = [number_of.format(t) if a in comparisons else t for a, t in zip(arguments, texts, strict=True)]
        if name in INFIX:
            return f"{texts[0]} {INFIX[name]} {texts[1]}"
        if name not in calls:
            raise SystemExit(f"torch's operation '{name}' has no spelling; add it to scripts/generate_slopes.py")
        return calls[name].format(*texts)

    return spell


def curves() -> list[tuple[str, SurrogateFunction, Callable[..., torch.Tensor]]]:
    pairs = []
    for name, surrogate in SURROGATES.items():
        if len(surrogate.constants) > CONSTANTS:
            raise SystemExit(
                f"surrogate function '{name}' has {len(surrogate.constants)} constants, and the kernels have room for "
                f"{CONSTANTS}; use fewer, or enlarge CONSTANTS in src/surgrad/surrogates/base.py and what it names"
            )
        assert surrogate.formula is not None
        pairs += [(f"slope_{name}", surrogate, surrogate.formula.slope)]
        pairs += [(f"width_slope_{name}", surrogate, surrogate.formula.width_slope_of)]
    return pairs


def cpp() -> str:
    """For each curve: `fix_`, which computes what depends on the width alone, once for all steps, into rows of
    stride s; and the curve itself, from x and those."""
    spell = spelling(CALLS_CPP, lambda number: f"{number!r}f", "{0} ? 1.0f / {1} : 0.0f", "({0} ? 1.0f : 0.0f)")
    text = [f"// {NOTE}", "#pragma once", '#include "elementary.h"', ""]
    most = 0
    for name, surrogate, curve in curves():
        lines, result = lines_of(traced(curve, surrogate), spell)
        fixed, varying = parted(lines, ["w", *(f"c{i}" for i in range(len(surrogate.constants)))])
        kept = [n for n, _, _ in [("w", "", False), *fixed] if any(uses(value, n) for _, value, _ in varying)]
        most = max(most, len(kept))
        text.append(f"INLINE void fix_{name}(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {{")
        text += [f"  const float c{i} = c[{i}];" for i in range(len(surrogate.constants))]
        text += [f"  const float {n} = {value};" for n, value, _ in fixed]
        text += [*(f"  k[{i} * s] = {n};" for i, n in enumerate(kept)), "}", ""]
        text.append(f"INLINE float {name}(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {{")
        text += [f"  const float {n} = k[{i} * s];" for i, n in enumerate(kept)]
        text += [f"  const {'bool' if boolean else 'float'} {n} = {value};" for n, value, boolean in varying]
        text += [f"  return {result};", "}", ""]
    entries = " ".join(f"X({name})" for name in SURROGATES)
    text += [f"constexpr int FIXED = {most};", "", "// Every surrogate function, in the order of its number."]
    return "\n".join([*text, f"#define SURROGATES(X) {entries}", ""])


def parted(lines: list[tuple[str, str, bool]], given: list[str]) -> tuple[list[tuple[str, str, bool]], ...]:
    """The lines that do not depend on x, and those that do, which multiply by a reciprocal of the former rather than
    divide."""
    fixed: list[tuple[str, str, bool]] = []
    varying: list[tuple[str, str, bool]] = []

    def product(match: re.Match[str]) -> str:
        above, below = match.groups()
        if below not in [*given, *(n for n, _, _ in fixed)]:
            return match.group()
        if f"r_{below}" not in [n for n, _, _ in fixed]:
            fixed.append((f"r_{below}", f"1.0f / {below}", False))
        return f"r_{below}" if above == "1.0f" else f"{above} * r_{below}"

    for name, text, boolean in lines:
        if any(uses(text, n) for n in ["x", *(n for n, _, _ in varying)]):
            varying.append((name, re.sub(r"(\S+) / ([a-z]\w*)", product, text), boolean))
        else:
            fixed.append((name, text, boolean))
    for name in given[1:]:  # a constant that the curve itself reads is kept as well
        if any(uses(text, name) for _, text, _ in varying):
            fixed.append((f"k_{name}", name, False))
            varying = [(n, re.sub(rf"\b{name}\b", f"k_{name}", text), b) for n, text, b in varying]
    return fixed, varying


def uses(text: str, name: str) -> bool:
    """Whether an expression contains a name."""
    return re.search(rf"\b{name}\b", text) is not None


def triton() -> str:
    spell = spelling(CALLS_TRITON, repr, "tl.where({0}, reciprocal({1}), 0.0)", "{0}")
    constants = ", ".join(f"c{i}" for i in range(CONSTANTS))
    text = [
        f'"""{NOTE}"""',
        "",
        "import triton",
        "import triton.language as tl",
        "",
        "from surgrad.kernels.lif.triton.math import power, reciprocal, sign, tangent",
        "",
    ]
    for name, surrogate, curve in curves():
        lines, result = lines_of(traced(curve, surrogate), spell)
        lines = multiplied(lines)
        text += ["", "@triton.jit", f"def {name}(x, w, {constants}):"]
        numbers = [boolean and not selects(lines, name) for name, _, boolean in lines]
        text += [
            f"    {name} = {f'({value}).to(tl.float32)' if number else value}"
            for (name, value, _), number in zip(lines, numbers, strict=True)
        ]
        text += [f"    return {result}", ""]
    for kind in ("slope", "width_slope"):
        text += ["", "@triton.jit", f"def {kind}(x, w, {constants}, SURROGATE: tl.constexpr):"]
        for number, name in enumerate(SURROGATES):
            word = "if" if number == 0 else "elif"
            text += [f'    {word} SURROGATE == "{name}":', f"        out = {kind}_{name}(x, w, {constants})"]
        text += ["    else:", '        tl.static_assert(False, "no such surrogate function")', "    return out", ""]
    return "\n".join(text)


def multiplied(lines: list[tuple[str, str, bool]]) -> list[tuple[str, str, bool]]:
    """With products by the reciprocal for divisions by what is the same for all x: far fewer instructions."""
    varies = {"x"}
    out = []
    for name, text, boolean in lines:
        above, _, below = text.partition(" / ")
        if varies.intersection(re.findall(r"\w+", text)):
            varies.add(name)
        if below and not below.isidentifier():
            text = f"{above} * {1 / float(below)!r}"
        elif below and below not in varies:
            text = f"reciprocal({below})" if above == "1.0" else f"{above} * reciprocal({below})"
        out.append((name, text, boolean))
    return out


def selects(lines: list[tuple[str, str, bool]], name: str) -> bool:
    """Whether a comparison chooses between two values rather than entering arithmetic."""
    return any(f"tl.where({name}," in value for _, value, _ in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    check = parser.parse_args().check
    for path, text in ((FOLDER / "native/slopes.h", cpp()), (FOLDER / "triton/slopes.py", triton())):
        if check and (not path.exists() or path.read_text() != text):
            sys.exit(f"{path} is not what surgrad.surrogates says; run python scripts/generate_slopes.py")
        path.write_text(text) if not check else None


if __name__ == "__main__":
    main()
