"""Dialogs: to be sure before something is ended, and to say what went wrong."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from nicegui import ui

from gpupool_web.words import Words
from gpupool_web.words.refusals import trouble
from gpupool_wire.errors import GpupoolError


async def sure(say: Words, question: str, what_happens: str, yes: str) -> bool:
    """Ask before something cannot be taken back; return whether it was meant."""
    with ui.dialog().props(f'aria-label="{_quoted(question)}"') as dialog, ui.card():
        ui.label(question).classes("gp-h")
        ui.label(what_happens).classes("gp-quiet")
        with ui.row().classes("w-full justify-end"):
            ui.button(say("Cancel"), on_click=lambda: dialog.submit(False)).props("flat no-caps")
            ui.button(yes, on_click=lambda: dialog.submit(True), color="negative").props("no-caps unelevated")
    meant = bool(await dialog)
    dialog.delete()
    return meant


async def tried(say: Words, doing: Awaitable[Any], done: str = "") -> Any:  # noqa: ANN401 - JSON
    """Do something over REST and say that it is done, or what is wrong; return the answer, None where there is none."""
    try:
        answer = await doing
    except GpupoolError as error:
        tell_trouble(say, error)
        return None
    if done:
        ui.notify(done, type="positive")
    return answer


def tell_trouble(say: Words, error: GpupoolError) -> None:
    """Say what is wrong, for as long as it takes to read."""
    ui.notify(trouble(say, error), type="negative", multi_line=True, timeout=12_000, close_button="×")


def _quoted(text: str) -> str:
    return text.replace('"', "'")
