"""What a notebook says in words, cut into sections, and the claims in it.

A section runs from one heading to the next. A claim is a number with a unit of evidence: an
`AMOUNT` (per cent, points, an interval after ±, seconds, bytes, operations) or a `RATIO` (a
multiple, a part of something).
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

FENCE = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`[^`\n]*`")
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)
TAG = re.compile(r"</?[a-z][^<>]*>")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)[^)]*\)")
WORD = re.compile(r"[A-Za-zÀ-ÿ]+(?:['’][A-Za-zÀ-ÿ]+)*")
BREAK = re.compile(r"\n\s*\n|\n(?=#{1,6} )|(?<=\n)(?=\s*(?:[-*]|\d+\.) )|(?<=\|)\n")

NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?"
COUNT = "two|three|four|five|six|seven|eight|nine|ten|twenty|fifty|hundred|thousand"
MANY = rf"(?:{NUMBER}|{COUNT})"
THAN = "as|the|what|that|more|less|fewer|larger|smaller|faster|slower|longer|shorter|better"
AMOUNT = (
    rf"{NUMBER} ± {NUMBER}"  # +2.7 ± 0.2 points
    rf"|{NUMBER} (?:%|per cent\b|points?\b)(?! interval)"  # 79 %, but not a 95 % interval
    rf"|{NUMBER} (?:ms|s|seconds?|minutes?|hours?|days?)\b"
    rf"|{NUMBER} (?:[kMGT]i?B|[MGT]?FLOPs?)\b"
)
RATIO = (
    rf"(?:twice|{MANY}(?: (?:or|and) {MANY})? times) (?:{THAN})\b"  # 27 and 42 times the ...
    rf"|\b(?:an?|{COUNT}) (?:third|quarter|fifth|tenth|hundredth)s? of\b"
)
MEASURED = re.compile(rf"({NUMBER}) ± ({NUMBER})|({NUMBER}) (?:%|points?\b)(?! interval)")
SOURCE = re.compile(
    r"https?://\S|arXiv[: ]\d{4}\.\d{4,5}"  # where to read it
    r"|\b[A-Z]\w+ (?:et al\.|and [A-Z]\w+) \(?\d{4}"  # who found it, and when
    r"|\b(?:FLoWN|HyperFlow), (?:abstract|(?:section|table|equation|appendix) [A-Z]?\.?\d)"
)
PROMISE = re.compile(  # what the reader should bring, not what was found
    r"^\*\*(?:Needs|Minutes):\*\*.*|^\*(?:Easy|Medium|Hard), \d+ minutes\.\*", re.DOTALL
)


def visible(source: str) -> str:
    """Markdown without code, formulas, tags and the addresses of links."""
    for pattern in (FENCE, SPAN, FORMULA, TAG):
        source = pattern.sub(" ", source)
    return LINK.sub(r"\1", source)


def words(source: str) -> list[str]:
    """The words of a markdown text, as they are written."""
    return WORD.findall(visible(source))


def text(notebook: NotebookNode) -> str:
    """All markdown of a notebook."""
    cells = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return "\n\n".join(cells)


@dataclass
class Section:
    """What stands between two headings."""

    paragraphs: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)


def sections(notebook: NotebookNode) -> list[Section]:
    """The sections in order; a heading in the middle of a cell begins one as well."""
    found = [Section()]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found[-1].code.append(cell.source)
            continue
        for paragraph in paragraphs(cell.source):
            if paragraph.startswith("#"):
                found.append(Section())
            found[-1].paragraphs.append(paragraph)
    return found


def paragraphs(source: str) -> list[str]:
    """The paragraphs of a markdown text; each item of a list, each row of a table is one."""
    return [part for part in BREAK.split(FENCE.sub("", source)) if part.strip()]


def claims(paragraph: str) -> list[str]:
    """The numbers with a unit of evidence in a paragraph; a ratio may follow from a formula."""
    claim = AMOUNT if FORMULA.search(paragraph) else f"{AMOUNT}|{RATIO}"
    text = visible(PROMISE.sub("", paragraph))
    return [match[0] for match in re.finditer(claim, text)]


def links(paragraph: str) -> list[str]:
    return [target for _, target in LINK.findall(paragraph)]


def results(paragraph: str) -> list[str]:
    """The committed results that a paragraph names, by link or by path."""
    return re.findall(r"results/[\w./-]*\w", paragraph)


def shows(source: str) -> bool:
    """Whether a code cell shows what it computes: it prints, or its last line is a value."""
    tree = ast.parse(source)
    calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
    last = tree.body[-1] if tree.body else None
    return "print" in calls or (
        isinstance(last, ast.Expr) and not re.search(r"assert|check_", ast.unparse(last))
    )


def measured(paragraph: str) -> Iterator[tuple[str, ...]]:
    """The measured numbers of a paragraph: (mean, half width), or (number,)."""
    for match in MEASURED.finditer(visible(paragraph)):
        yield tuple(number for number in match.groups() if number)


@cache
def numbers(path: Path) -> tuple[float, ...]:
    """All numbers of a results file in order; those of a JSON file as per cent too."""
    found = [
        float(n.replace(",", ""))
        for n in re.findall(NUMBER, path.read_text(encoding="utf-8"))
    ]
    return (*found, *(100 * x for x in found if path.suffix == ".json"))


def stands(measured: tuple[str, ...], values: tuple[float, ...]) -> bool:
    """Whether these numbers stand side by side among the values, rounded as they are."""
    starts = range(len(values) - len(measured) + 1)
    return any(
        all(rounds_to(values[i + k], number) for k, number in enumerate(measured))
        for i in starts
    )


def rounds_to(value: float, number: str) -> bool:
    """Whether a value, rounded to the number's decimals, is the number; a sign must agree."""
    half = 0.5 * 10 ** -len(number.partition(".")[2])
    if not number.startswith(("+", "-")):
        value = abs(value)
    return abs(value - float(number.replace(",", ""))) <= half * (1 + 1e-9)


def package_names(cells: Iterable[NotebookNode]) -> set[str]:
    """What a notebook imports from the package, except for random numbers and the scale."""
    found = set()
    for node in (n for cell in cells for n in ast.walk(ast.parse(cell.source))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "hyperlab":
            found |= {alias.asname or alias.name for alias in node.names}
    return found - {"stream", "choose"}
