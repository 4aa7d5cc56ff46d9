"""The options of whoever reads documents, said once: a service and a worker take the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpupool_ocr.commands.options import Compute, Local, Memory

if TYPE_CHECKING:
    from gpupool_ocr.service.serving import Place
    from gpupool_ocr.service.settings import Settings

Pages = Annotated[int, typer.Option(help="Documents read at the same time: what memory grows with.", min=1, max=64)]
Log = Annotated[Path | None, typer.Option(help="Append a JSON line for each document, text redacted.", envvar="GPUPOOL_OCR_LOG")]
Redact = Annotated[list[str] | None, typer.Option(help="A pattern the log leaves out, too; may be given again.")]
Fetch = Annotated[list[str] | None, typer.Option(help="A host pages may be fetched from and answers sent to (*.example.org).")]
Networks = Annotated[list[str] | None, typer.Option(help="A network of one's own that may be fetched from (10.1.0.0/16).")]
Cases = Annotated[Path | None, typer.Option(help="Keep pages that were read badly in this folder.", envvar="GPUPOOL_OCR_CASES")]
CasesDays = Annotated[float, typer.Option(help="Forget kept pages that are older.", min=0.001)]
CasesMib = Annotated[int, typer.Option(help="Then the oldest, until the rest is no larger.", min=1)]
CasesRedact = Annotated[list[str] | None, typer.Option(help="A field taken out of a page before it is kept; may be given again.")]
MaxPages = Annotated[int, typer.Option(help="Pages of one document.", min=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the command line says of reading. Every field is an option."""

    pages: Pages = 4
    compute: Compute = "100"
    memory: Memory = "2GiB"
    local: Local = False
    log: Log = None
    redact: Redact = None
    fetch: Fetch = None
    fetch_network: Networks = None
    max_pages: MaxPages = 100
    cases: Cases = None
    cases_days: CasesDays = 90.0
    cases_mib: CasesMib = 10 * 1024
    cases_redact: CasesRedact = None

    def settings(self, *, folder: Path | None = None, **more: Any) -> Settings:  # noqa: ANN401 - fields of Settings
        """Return the settings of an instance; `more` is what this command says beyond reading."""
        from gpupool_ocr.service.settings import Settings, default_folder

        return Settings(
            folder=folder or default_folder(),
            pages=self.pages,
            log=self.log,
            redact=tuple(self.redact or ()),
            fetch_hosts=tuple(self.fetch or ()),
            fetch_networks=tuple(self.fetch_network or ()),
            max_pages=self.max_pages,
            cases=self.cases,
            cases_days=self.cases_days,
            cases_mib=self.cases_mib,
            cases_redact=tuple(self.cases_redact or ()),
            **more,
        )

    def place(self) -> Place:
        """Return where the models run."""
        from gpupool_ocr.service.serving import Place

        return Place(compute=self.compute, memory=self.memory, local=self.local)


def takes_reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of Reading; it gets them as its argument `reading`."""
    options = signature(Reading, eval_str=True).parameters
    own = [parameter for name, parameter in signature(command, eval_str=True).parameters.items() if name != "reading"]

    def run(**given: Any) -> None:  # noqa: ANN401 - typer has checked them
        reading = Reading(**{name: given.pop(name) for name in options})
        command(reading=reading, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in (*own, *options.values())]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # what typer asks for a command's options
    return run
