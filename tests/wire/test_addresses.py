"""Addresses as people write them, and the rule about binding."""

from __future__ import annotations

import pytest

from gpupool_wire.addresses import Address, check_bind, parse_address, parse_addresses
from gpupool_wire.errors import UsageError

KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost", Address("localhost", 7100)),
        ("127.0.0.1:9", Address("127.0.0.1", 9)),
        ("tcp://pool.example:7200", Address("pool.example", 7200)),
        ("[::1]:80", Address("::1", 80)),
        ("10.1.2.3:0", Address("10.1.2.3", 0)),
        (f"curve://{KEY}@pool.example", Address("pool.example", 7100, KEY)),
        (f"curve://{KEY.upper()}@[::1]:80", Address("::1", 80, KEY)),
    ],
)
def test_addresses_are_understood(text: str, address: Address) -> None:
    assert parse_address(text, 7100) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "curve://x:1",
        f"curve://{KEY[1:]}@x",
        f"tcp://{KEY}@x",
        "http://x",
        "x:port",
        "x:70000",
        "tcp://",
        "x/y",
        "[::1",
        "a b:1?c",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        parse_address(text, 7100)


def test_an_address_is_written_as_it_is_read() -> None:
    for address in (Address("::1", 80), Address("::1", 80, KEY)):
        assert parse_address(address.url, 1) == address


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("gpu-1", False)]
)
def test_loopback_is_told_apart(host: str, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback


def test_binding_beyond_loopback_needs_encryption_or_consent() -> None:
    outside = Address("0.0.0.0", 7100)
    with pytest.raises(UsageError, match="--insecure"):
        check_bind(outside, insecure=False)
    assert check_bind(outside, insecure=True) is outside
    assert check_bind(outside, insecure=False, encrypted=True) is outside


def test_several_addresses_keep_their_order_each_once() -> None:
    found = parse_addresses(f"a, tcp://b:1,,curve://{'cd' * 32}@[::1]:2,a:7", 7)
    assert [address.url for address in found] == ["tcp://a:7", "tcp://b:1", f"curve://{'cd' * 32}@[::1]:2"]


@pytest.mark.parametrize("text", ["", " , ", "a,b:c", "a,http://b"])
def test_a_list_with_something_else_in_it_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_addresses(text, 7)
