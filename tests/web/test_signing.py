"""Tickets and the cookie's secret."""

from __future__ import annotations

from pathlib import Path

from gpupool_web.signing import Tickets, cookie_secret


def test_a_ticket_works_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue("token")
    assert tickets.redeem(ticket) == "token"
    assert tickets.redeem(ticket) is None
    assert tickets.redeem("guess") is None


def test_the_secret_is_kept_and_private(tmp_path: Path) -> None:
    secret = cookie_secret(tmp_path / "web")
    assert cookie_secret(tmp_path / "web") == secret
    assert (tmp_path / "web" / "cookie.secret").stat().st_mode & 0o777 == 0o600
