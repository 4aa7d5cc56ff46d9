"""One run of `gpupool ocr eval`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gpupool_ocr.evaluation.comparison import Comparison, compare
from gpupool_ocr.evaluation.scores import PageScore, score_lines
from gpupool_ocr.evaluation.versions import Version
from gpupool_ocr.fields.extraction import Extractor
from gpupool_ocr.fields.geometry import TextLine
from gpupool_ocr.fields.kinds import KINDS
from gpupool_ocr.metrics import normalise
from gpupool_ocr.synthesis.dataset import Example


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One or two versions over the same pages."""

    names: tuple[str, ...]
    pages: tuple[tuple[PageScore, ...], ...]
    comparisons: list[Comparison]
    examples: tuple[Example, ...]

    def differing(self) -> list[tuple[Example, PageScore, PageScore]]:
        """Return the pages that two versions read differently, those first where they differ most in similarity."""
        if len(self.pages) < 2:
            return []
        triples = [triple for triple in zip(self.examples, *self.pages, strict=True) if triple[1].texts != triple[2].texts]
        return sorted(triples, key=lambda triple: -abs(triple[1].counts.similarity - triple[2].counts.similarity))


def evaluate(
    examples: Sequence[Example], versions: Sequence[Version], extractor: Extractor, tell: Callable[[str, int], None]
) -> Evaluation:
    """Read every page with every version, in turn, and compare. `tell` hears the version and how many pages are done."""
    scores: list[list[PageScore]] = [[] for _ in versions]
    for number, example in enumerate(examples):
        # Versions take turns on a page, and in who is first, so that a machine that gets slower is so for both.
        order = list(enumerate(versions))
        for index, version in order if number % 2 == 0 else reversed(order):
            scores[index].append(score_page(example, version, extractor))
            tell(version.name, number + 1)
    return Evaluation(
        names=tuple(version.name for version in versions),
        pages=tuple(map(tuple, scores)),
        comparisons=compare(scores),
        examples=tuple(examples),
    )


def score_page(example: Example, version: Version, extractor: Extractor) -> PageScore:
    """Return how a version reads a page."""
    read = version.read(example)
    counts = score_lines([TextLine.of(line.polygon, line.text) for line in example.lines], read.lines)
    found = {name: value for name, value in extracted(extractor, read.lines, example.fields).items() if name in example.fields}
    truth = true_fields(extractor, example)
    right = sum(is_same(found.get(name, ""), value) for name, value in truth.items())
    counts = replace(counts, labelled_fields=len(truth), found_fields=len(found), right_fields=right)
    texts = tuple(line.text for line in read.lines)
    return PageScore(name=example.image.name, counts=counts, texts=texts, fields=found, latency_ms=read.latency_ms)


def extracted(extractor: Extractor, lines: Sequence[TextLine], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the normal forms of the fields of a page; nothing is looked for where none are labelled."""
    return extractor.extract(lines).normalised() if wanted else {}


def true_fields(extractor: Extractor, example: Example) -> dict[str, str]:
    """Return the labelled fields in their normal form, by the kinds of the first type that has a field of that name."""
    types = [extractor.types[example.type]] if example.type in extractor.types else list(extractor.types.values())
    found: dict[str, str] = {}
    for name, value in example.fields.items():
        rule = next((rules.fields[name] for rules in types if name in rules.fields), None)
        normal = KINDS[rule.kind].normalise(value, rule.order) if rule else None
        found[name] = value if normal is None else normal
    return found


def is_same(one: str, other: str) -> bool:
    """Whether two normal forms are the same but for case, width and spaces."""
    return normalise(one) == normalise(other)
