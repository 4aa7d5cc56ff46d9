"""Users, tokens, the audit log and settings, as they stand on their pages."""

from __future__ import annotations

import json
from typing import Any

from gpupool_web.markup import Html, joined, moment, tag
from gpupool_web.rest import Json
from gpupool_web.tables import Column, button, table
from gpupool_web.words import Words

#: A value of an entry's before and after; longer ones are cut, the export has them whole.
MAX_CHARS = 60


def users(say: Words, rows: list[Json], me: str) -> Html:
    """Return the users, each with what an admin can do about it."""
    columns = [
        Column(say("Name")),
        Column(say("Role")),
        Column(say("Tenant")),
        Column(say("Signs in with")),
        Column(say("Last sign-in")),
        Column(say("Sessions"), is_number=True),
        Column(say("State")),
        Column(""),
    ]
    return table(columns, [_user(say, one, me) for one in rows], say("Users"), empty=say("There are no users."))


def _user(say: Words, one: Json, me: str) -> list[str]:
    name, is_out = one["name"], one["disabled_at"] is not None
    actions: list[str] = []
    if one["signs_in_with"] == "password":
        actions += [button("reset", name, say("Reset password"), label=say("Reset the password of {name}", name=name)), " "]
    if one["sessions"]:
        actions += [button("end", name, say("Sign out"), label=say("Sign {name} out everywhere", name=name)), " "]
    if is_out:
        actions.append(button("enable", name, say("Enable"), label=say("Enable {name}", name=name)))
    elif name != me:
        actions.append(button("disable", name, say("Disable"), is_danger=True, label=say("Disable {name}", name=name)))
    state, kind = (say("disabled"), "gp-bad") if is_out else (say("active"), "gp-good")
    if one["must_change"] and not is_out:
        state, kind = say("one-time password"), "gp-warn"
    return [
        name,
        say(one["role"]),
        one["tenant"] if one["role"] == "tenant" else "",
        say("provider") if one["signs_in_with"] == "oidc" else say("password"),
        moment(one["used_at"]),
        str(one["sessions"]),
        tag("span", state, class_=f"gp-badge {kind}"),
        tag("span", *actions, style="white-space:nowrap"),
    ]


def tokens(say: Words, rows: list[Json]) -> Html:
    """Return the tokens that are for people and programs, the valid ones first; credentials of nodes are the broker's own."""
    columns = [
        Column(say("Name")),
        Column(say("Role")),
        Column(say("Tenant")),
        Column(say("May")),
        Column(say("Made")),
        Column(say("Expires")),
        Column(say("Last use")),
        Column(""),
    ]
    shown = sorted((one for one in rows if one["role"] != "node"), key=lambda one: one["revoked_at"] is not None)
    return table(columns, [_token(say, one) for one in shown], say("Tokens"), empty=say("There are no tokens."))


def _token(say: Words, one: Json) -> list[str]:
    name = one["name"] or one["id"]
    end: str = button("revoke", one["id"], say("Revoke"), is_danger=True, label=say("Revoke token {name}", name=name))
    if one["revoked_at"]:
        end = tag("span", say("revoked"), class_="gp-badge gp-bad")
    made = joined([moment(one["created_at"], "day"), tag("span", f" {one['made_by']}", class_="gp-quiet")])
    return [
        name,
        say("node joining") if one["role"] == "join" else say(one["role"]),
        one["tenant"] if one["role"] == "tenant" else "",
        say("look") if one["read_only"] else say("change"),
        made,
        moment(one["expires_at"], "full", say("never")),
        moment(one["used_at"]),
        end,
    ]


def audit(say: Words, rows: list[Json]) -> Html:
    """Return entries of the audit log, newest first."""
    columns = [
        Column(say("When")),
        Column(say("Who")),
        Column(say("From where")),
        Column(say("Action")),
        Column(say("Of what")),
        Column(say("Outcome")),
        Column(say("Changed")),
    ]
    return table(
        columns, [_entry(say, one) for one in rows], say("Audit log"), empty=say("Nothing was done, or nothing that fits.")
    )


def _entry(say: Words, one: Json) -> list[str]:
    is_done = one["outcome"] == "done"
    outcome = tag("span", say("done") if is_done else one["outcome"], class_=f"gp-badge {'gp-good' if is_done else 'gp-warn'}")
    who = joined([one["who"] or "–", tag("span", f" {one['role']}", class_="gp-quiet")])
    changed = changes(one["before"], one["after"])
    lines = [tag("div", tag("span", name, class_="gp-quiet"), f" {old} → {new}") for name, old, new in changed]
    remark = tag("div", one["remark"], class_="gp-quiet") if one["remark"] else None
    return [moment(one["at"], "full"), who, one["address"], one["action"], one["target"], outcome, tag("div", *lines, remark)]


def changes(before: Any, after: Any) -> list[tuple[str, str, str]]:  # noqa: ANN401 - JSON
    """Return (name, before, after) of what differs, as far as both say it; names within others have dots."""
    if isinstance(before, dict) and isinstance(after, list):
        after = {one["name"]: one["value"] for one in after if isinstance(one, dict) and one.get("name") in before}
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return []
    found: list[tuple[str, str, str]] = []
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if isinstance(old, dict) and isinstance(new, dict):
            found += [(f"{name}.{inner}", *values) for inner, *values in changes(old, new)]  # type: ignore[misc]
        elif old != new:
            found.append((name, _short(old), _short(new)))
    return sorted(found)


def _short(value: Any) -> str:  # noqa: ANN401 - JSON
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"


def prices(say: Words, rows: list[Json]) -> Html:
    """Return the price list, the latest entries first."""
    titles = ("Reserved /%·h", "Memory /GiB·h", "Used /h", "Burst /h", "Idle /%·h", "Energy /kWh")
    rates = ("reserved_pct_hour", "memory_gib_hour", "used_hour", "burst_hour", "idle_pct_hour", "energy_kwh")
    columns = [Column(say("Valid from")), Column(say("Model")), Column(say("Currency"))]
    columns += [Column(title, is_number=True) for title in titles]
    columns.append(Column(say("Entered by")))
    found = [
        [one["valid_from"], one["model"] or say("all"), one["currency"], *(str(one[rate]) for rate in rates), one["by"]]
        for one in reversed(rows)
    ]
    return table(columns, found, say("Prices"), empty=say("No prices are set."))


def factors(say: Words, rows: list[Json]) -> Html:
    """Return the carbon factors, the latest entries first."""
    columns = [Column(say("Valid from")), Column("g CO₂/kWh", is_number=True), Column(say("Entered by"))]
    found = [[one["valid_from"], str(one["grams_per_kwh"]), one["by"]] for one in reversed(rows)]
    return table(columns, found, say("Carbon factors"), empty=say("No carbon factor is set."))


def shown_once(say: Words, what: str, secret: str) -> Html:
    """Return a secret that is shown this once."""
    box = tag("code", secret, class_="gp-secret")
    return joined([tag("p", what), box, tag("p", say("It is shown this once."), class_="gp-quiet")])
