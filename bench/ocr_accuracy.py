"""How well the packaged models are read with, against RapidOCR with its defaults, on ../shared/data/ocr, in one run.

    python -m bench.ocr_accuracy [--pool] [--html FOLDER] [--sets receipts documents video]

With --pool ours reads through a slice of the embedded pool, else in this process. Both are given the same decoded picture and
take turns on it. Receipts and documents are scored as `gpupool ocr eval` scores them, with the difference and its 95 % interval.
No frame of the video is labelled: what is counted is the frames that one of its two known subtitles was read in, to the letter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

import gpupool_ocr.pool
from gpupool_ocr.evaluation import report
from gpupool_ocr.evaluation.job import evaluate
from gpupool_ocr.evaluation.versions import Version, open_version
from gpupool_ocr.fields.packaged import load_extractor
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.synthesis.dataset import Example, find_examples

DATA = Path("../shared/data/ocr")
VERSIONS = ("rapidocr=rapidocr", "gpupool=packaged")
SUBTITLES = ("空间里面他绝对赢不了的", "你们接着善后")
#: Of 24 frames a second one in so many: neighbours hardly differ.
EVERY = 6

SETS: dict[str, Callable[[], list[Example]]] = {
    "receipts": lambda: find_examples(DATA / "receipts/img", DATA / "receipts/box", DATA / "receipts/key"),
    "documents": lambda: find_examples(DATA / "documents"),
}


def measure(name: str, examples: Sequence[Example], versions: Sequence[Version], html: Path | None) -> None:
    found = evaluate(examples, versions, load_extractor(), lambda *_: None)
    print(f"{name}: {report.as_table(found)}", flush=True)
    if html:
        html.mkdir(parents=True, exist_ok=True)
        (html / f"{name}.html").write_text(report.as_html(found), "utf-8")


def frames(folder: Path) -> Iterator[Example]:
    """Write some frames of the video and yield them; nothing is labelled in them."""
    film = cv2.VideoCapture(str(DATA / "video/subtitles.mp4"))
    number = 0
    while (taken := film.read())[0]:
        if number % EVERY == 0:
            path = folder / f"{number:03}.png"
            cv2.imwrite(str(path), taken[1])
            yield Example(image=path, lines=())
        number += 1
    film.release()


def subtitles(versions: Sequence[Version]) -> None:
    with TemporaryDirectory() as folder:
        shots = list(frames(Path(folder)))
        for version in versions:
            said = ["".join(line.text for line in version.read(shot).lines) for shot in shots]
            hits = [sum(subtitle in text for text in said) for subtitle in SUBTITLES]
            print(f"video: {version.name:10} {len(shots)} frames, subtitles read in {hits[0]} and {hits[1]} of them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", action="store_true", help="read through a slice of the embedded pool")
    parser.add_argument("--html", type=Path, help="where to write the pages that differ, side by side")
    parser.add_argument("--sets", nargs="*", choices=[*SETS, "video"], default=[*SETS, "video"])
    arguments = parser.parse_args()
    with gpupool_ocr.pool.pool_factory() if arguments.pool else nullcontext(LocalFactory()) as factory:
        versions = [open_version(version, lambda: factory) for version in VERSIONS]
        for name in arguments.sets:
            if name == "video":
                subtitles(versions)
            else:
                measure(name, SETS[name](), versions, arguments.html)


if __name__ == "__main__":
    main()
