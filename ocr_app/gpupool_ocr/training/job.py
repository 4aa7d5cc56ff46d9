"""One run of `gpupool ocr tune`: labelled pages in, a model and its card out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from gpupool_ocr.cases.store import CaseStore
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.models import RECOGNITION
from gpupool_ocr.pool import pool_factory
from gpupool_ocr.sessions import Session, SessionFactory
from gpupool_ocr.synthesis.dataset import Example, find_examples
from gpupool_ocr.training.card import Card, fingerprint, gain, write
from gpupool_ocr.training.fitting import Epoch, Settings, fit, prepared
from gpupool_ocr.training.graph import Head, put_together, take_apart
from gpupool_ocr.training.lines import Share, TrainingLine, features_of, split
from gpupool_wire.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningJob:
    """What one command line asks for."""

    data: list[Path]
    #: A store of bad cases whose labelled pages join the data.
    cases: Path | None
    #: Pages of other kinds that are trained on and chosen by beside the data, so that they are not forgotten; not measured on.
    replay: Path | None
    #: Pages of other kinds: nothing is trained on them, they tell what was forgotten.
    others: Path | None
    output: Path
    base: Path | None
    settings: Settings
    compute: int
    memory: str
    wait_s: float
    local: bool

    def run(self, say: Callable[[str], None], scratch: Path) -> Card:
        """Train, measure and write; `scratch` is an empty folder for the pages of bad cases. Raises UsageError."""
        if self.output.suffix != ".onnx":
            raise UsageError(f"{self.output} must end in .onnx: the card is written beside it as {self.output.stem}.card.json")
        parts = take_apart(*self._base())
        examples = self._examples(scratch)
        shares = split(examples, self.settings.seed)
        others = find_examples(self.others) if self.others else []
        replay = find_examples(self.replay) if self.replay else []
        with self._factory() as factory:
            session = factory.open(parts.features)
            lines = {share: self._features(pages, session, share, say) for share, pages in shares.items()}
            other_lines = self._features(others, session, "others", say)
            again = self._features(replay, session, "replay", say)
        # Of what must not be forgotten, every fourth line helps to choose the epoch.
        lines["validation"] += again[::4]
        lines["train"] += [line for index, line in enumerate(again) if index % 4]
        tuned = self._tuned(parts.head, lines, say)
        model = put_together(parts, tuned)
        card = Card(
            name=self.output.stem,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            sha256=fingerprint(model),
            base_sha256=fingerprint(parts.whole),
            classes=len(tuned.characters),
            new_characters="".join(tuned.characters[len(parts.head.characters) - 1 : -1]),
            data={"pages": len(examples), **{f"{share}_lines": len(found) for share, found in lines.items()}},
            settings=self.settings,
            held_out=gain(parts.head, tuned, lines["test"]),
            others=gain(parts.head, tuned, other_lines) if other_lines else None,
        )
        write(model, card, self.output)
        return card

    def _tuned(self, head: Head, lines: Mapping[Share, Sequence[TrainingLine]], say: Callable[[str], None]) -> Head:
        def tell(epoch: Epoch) -> None:
            say(f"epoch {epoch.number}: loss {epoch.loss:.4f}, exact on validation {epoch.exactness:.4f}")

        return fit(prepared(head, lines["train"]), lines["train"], lines["validation"], self.settings, tell)

    def _base(self) -> tuple[bytes, str]:
        if self.base is None:
            return (files("rapidocr") / "models" / RECOGNITION).read_bytes(), RECOGNITION
        try:
            return self.base.read_bytes(), str(self.base)
        except OSError as error:
            raise UsageError(f"{self.base} cannot be read: {error.strerror}") from error

    def _examples(self, scratch: Path) -> list[Example]:
        found = [example for folder in self.data for example in find_examples(folder)]
        if self.cases is not None:
            with CaseStore(self.cases) as store:
                store.export(scratch)
            found += find_examples(scratch)
        return found

    def _features(self, pages: Sequence[Example], session: Session, share: str, say: Callable[[str], None]) -> list[TrainingLine]:
        found = features_of(pages, session)
        if pages:
            say(f"{share}: {len(found)} lines of {len(pages)} pages")
        return found

    def _factory(self) -> AbstractContextManager[SessionFactory]:
        if self.local:
            return nullcontext(LocalFactory())
        return pool_factory(compute=self.compute, memory=self.memory, wait_s=self.wait_s)
