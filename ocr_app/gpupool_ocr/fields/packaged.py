"""Where rules come from: the files in this package, and a folder of one's own."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from gpupool_ocr.fields.extraction import Extractor
from gpupool_ocr.fields.rules import BadRules, TypeRules, parse, resolve


@cache
def packaged_sources() -> dict[str, str]:
    """Return the text of each rule file of this package by its name."""
    folder = files("gpupool_ocr.fields") / "types"
    return {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".yaml")}


def load_extractor(own: Path | None = None) -> Extractor:
    """Return an extractor with the packaged types, and those of a file or folder, which replace packaged ones of their name.

    Raises BadRules, naming the file, where one cannot be used.
    """
    sources = dict(packaged_sources())
    found = _named([(name, parse(text, name)) for name, text in sources.items()])
    if own is not None:
        found |= _named([(str(path), parse(_read(path), str(path))) for path in _own_files(own)])
    return Extractor(resolve(found))


def _named(parsed: list[tuple[str, TypeRules]]) -> dict[str, TypeRules]:
    found: dict[str, TypeRules] = {}
    for source, rules in sorted(parsed, key=lambda pair: pair[0]):
        if rules.name in found:
            raise BadRules(f"{source}: another file beside it names the type {rules.name}, too")
        found[rules.name] = rules
    return found


def _own_files(own: Path) -> list[Path]:
    if not own.is_dir():
        return [own]
    inside = sorted(path for path in own.iterdir() if path.suffix in {".yaml", ".yml"})
    if not inside:
        raise BadRules(f"{own} holds no rule files (*.yaml)")
    return inside


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadRules(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise BadRules(f"{path} cannot be read: {error.strerror}") from error
