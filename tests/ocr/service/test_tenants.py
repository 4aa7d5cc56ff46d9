"""Who may ask how much."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gpupool_ocr.jobs.board import QueueFull
from gpupool_ocr.service.tenants import Tenants, TenantSpec, Unauthorized, read_tenants
from gpupool_wire.errors import UsageError


def spec(key: str, **limits: object) -> TenantSpec:
    return TenantSpec(key_sha256=hashlib.sha256(key.encode()).hexdigest(), **limits)  # type: ignore[arg-type]


def test_a_tenant_is_known_by_its_key() -> None:
    tenants = Tenants({"a": spec("ka"), "b": spec("kb", is_admin=True)})
    assert tenants.caller("kb").tenant == "b"
    for key in (None, "", "other"):
        with pytest.raises(Unauthorized):
            tenants.caller(key)


def test_without_tenants_everybody_is_one() -> None:
    assert Tenants().caller(None).tenant == "default"


def test_a_tenant_names_its_own_businesses_only() -> None:
    caller = Tenants({"a": spec("ka", bids=["shop"])}).caller("ka")
    caller.check_bid("shop")
    with pytest.raises(Unauthorized, match="may name shop"):
        caller.check_bid("bank")


def test_documents_under_way_are_limited_each_tenant_by_itself() -> None:
    tenants = Tenants({"a": spec("ka", in_flight=2), "b": spec("kb", in_flight=2)})
    a, b = tenants.caller("ka"), tenants.caller("kb")
    for _ in range(2):
        tenants.begin(a, 0.0)
    with pytest.raises(QueueFull, match="2 documents under way; the limit is 2"):
        tenants.begin(a, 0.0)
    tenants.begin(b, 0.0)
    tenants.end(a)
    tenants.begin(a, 0.0)


def test_documents_a_minute_are_limited_and_the_wait_is_told() -> None:
    tenants = Tenants({"a": spec("ka", per_minute=60, in_flight=100)})
    a = tenants.caller("ka")
    for _ in range(60):
        tenants.begin(a, 5.0)
    with pytest.raises(QueueFull) as caught:
        tenants.begin(a, 5.25)
    assert caught.value.details["retry_after_s"] == pytest.approx(0.75)
    tenants.begin(a, 6.0)
    with pytest.raises(QueueFull):
        tenants.begin(a, 6.0)


@pytest.mark.parametrize("text", ["tenants: {a: {}}", "tenant: {}", "- 1", "a: [", "tenants: {a: {key_sha256: abc}}"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UsageError, match="is no file of tenants"):
        read_tenants(tmp_path / "t.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_tenants(tmp_path / "other.yaml")


def test_a_tenant_that_sees_the_pages_of_nobody_known_is_refused(tmp_path: Path) -> None:
    key = hashlib.sha256(b"k").hexdigest()
    (tmp_path / "tenants.yaml").write_text(f"tenants: {{clerk: {{key_sha256: {key}, cases_of: [shopp]}}}}")
    with pytest.raises(UsageError, match="'clerk' has cases_of shopp; there are clerk"):
        read_tenants(tmp_path / "tenants.yaml")
