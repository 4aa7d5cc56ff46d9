"""What happened to a slice, in the viewer's language: REST tells the fact and its figures, the sentence stands here."""

from __future__ import annotations

from typing import Final

from gpupool_web.figures import memory_text, span_text
from gpupool_web.markup import Html, joined, moment, tag
from gpupool_web.rest import Json
from gpupool_web.words import Words, noted

#: Lines that are shown, the newest first.
MAX_LINES: Final = 200
#: By the name of the fact (gpupool_broker.core.facts). One that is not here is told as the broker tells it.
SENTENCES: Final = {
    "SliceGranted": noted(
        "granted to {tenant}: {compute_pct} % ({policy}) and {memory} of {device} on {node}, asked by {holder}"
    ),
    "SliceResized": noted("resized to {compute_pct} % and {memory}"),
    "SlicePaused": noted("paused by {by}: {reason}"),
    "SliceResumed": noted("goes on, says {by}"),
    "SliceNoticed": noted("told that it will be evicted in {notice}: {reason}"),
    "SliceMoved": noted("placed again, on {device} on {node}"),
    "SliceStranded": noted("lost its device: {reason}"),
    "SliceEnded": noted("{how}: {reason}"),
}
ENDS: Final = {
    "released": noted("released"),
    "expired": noted("expired"),
    "lost": noted("lost"),
    "evicted": noted("evicted"),
}


def sentence(say: Words, line: Json) -> str:
    """Return one line of a story."""
    figures, english = line.get("figures") or {}, SENTENCES.get(line["fact"])
    if english is None or (line["fact"] == "SliceNoticed" and not figures.get("reason")):
        return str(line["text"])
    values = {
        **figures,
        "memory": memory_text(figures.get("memory_mib") or 0),
        "notice": span_text((figures.get("notice_ms") or 0) / 1000),
        "how": say(ENDS.get(figures.get("how", ""), str(figures.get("how")))),
    }
    try:
        return say(english, **values)
    except KeyError:
        # A broker of another version tells other figures.
        return str(line["text"])


def story(say: Words, one: Json) -> Html:
    """Return what happened to a slice, the newest first."""
    lines = one["story"][::-1][:MAX_LINES]
    told = (tag("li", moment(line["at"], "clock"), tag("span", sentence(say, line))) for line in lines)
    return joined([tag("div", tag("h2", say("Its story")), class_="gp-head"), tag("ul", *told, class_="gp-list")])
