"""The envelope: what is a message, and what becomes of one that was tampered with."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.trading.envelope import EnvelopeError, unseal
from firmware.trading.identity import Identity
from tests.firmware.trading.people import EPOCH, order

ANN = Identity.new()
MESSAGE = order(ANN)
RAW = MESSAGE.raw()


def test_a_message_comes_back_whole() -> None:
    again = unseal(RAW)
    assert again == MESSAGE
    assert again.is_signed_by(ANN.public_key)
    assert (again.kind, again.peer, again.epoch, again.n) == ("order", ANN.peer, EPOCH, 5)
    assert not again.is_signed_by(Identity.new().public_key)


def test_spaces_and_the_order_of_keys_change_neither_name_nor_signature() -> None:
    other = json.dumps(dict(reversed(json.loads(RAW).items())), indent=2).encode()
    assert unseal(other).id == MESSAGE.id
    assert unseal(other).is_signed_by(ANN.public_key)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("t", "vote"),
        ("c", "avenue"),
        ("p", "abcdefgh234567ab"),
        ("e", EPOCH + 1),
        ("n", 6),
        ("ts", 0),
        ("m", 2),
        ("prev", "1" * 64),
        ("b", {"side": "sell", "steps": [{"px": 9_000, "q": 500}]}),
    ],
)
def test_no_field_can_be_altered(key: str, value: Any) -> None:
    altered = unseal(json.dumps(json.loads(RAW) | {key: value}).encode())
    assert altered.id != MESSAGE.id
    assert not altered.is_signed_by(ANN.public_key)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_no_byte_can_be_altered(place: int, change: int) -> None:
    raw = bytearray(RAW)
    raw[place] ^= change
    try:
        message = unseal(bytes(raw))
    except EnvelopeError:
        return
    assert message.id == MESSAGE.id or not message.is_signed_by(ANN.public_key)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_noise_is_no_message(raw: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unseal(raw)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"v": 2}, "v: must be 1"),
        ({"n": True}, "n: must be a whole number"),
        ({"n": -1}, "n: must be at least 0"),
        ({"n": 2**53}, "n: must be below 9007199254740992"),
        ({"n": "5"}, "n: must be a whole number"),
        ({"p": "../../x"}, "p: must be 16 characters of a-z and 2-7"),
        ({"t": "Order/#"}, "t: must be 1 to 16 characters of a-z"),
        ({"c": ""}, "c: must have at least 1 character"),
        ({"b": []}, "b: must be an object"),
        ({"prev": "0"}, "prev: must be 64 characters of 0-9 and a-f"),
        ({"extra": 1}, "extra: no such field"),
        ({"b": {"x": "\ud800"}}, "surrogates"),
    ],
)
def test_what_is_no_envelope(change: dict[str, Any], error: str) -> None:
    with pytest.raises(EnvelopeError, match=error):
        unseal(json.dumps(json.loads(RAW) | change).encode())


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"[]", "message: must be an object"),
        (RAW.replace(b'"n":5', b'"n":5.0'), "5.0: only integers"),
        (RAW.replace(b'"n":5', b'"n":5,"n":5'), 'key "n" twice'),
        (RAW.replace(b'"n":5', b'"n":NaN'), "NaN"),
        (b'{"v":' * 50_000, "deeply"),
        (b'{"v":1}', "t: missing .and 9 more."),
    ],
)
def test_json_that_is_no_envelope(raw: bytes, error: str) -> None:
    with pytest.raises(EnvelopeError, match=error):
        unseal(raw)


@pytest.mark.parametrize("signature", ["", "x", "AAAA", "A" * 88, "A" * 90, "é"])
def test_a_signature_that_is_none(signature: str) -> None:
    message = unseal(json.dumps(json.loads(RAW) | {"s": signature}).encode())
    assert not message.is_signed_by(ANN.public_key)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_no_depth_of_nesting_is_too_much_to_refuse(opening: str, closing: str) -> None:
    """Also not the depth that can just be read, and not be written any more."""
    fields = MESSAGE.fields
    body = json.dumps({**fields, "b": {"a": "HERE"}})
    for depth in range(1, 1200):
        inner = opening * depth + "1" + closing * depth
        raw = body.replace('"HERE"', inner).encode()
        if depth < 20:
            assert not unseal(raw).is_signed_by(Identity.new().public_key)
        elif depth > 32:
            with pytest.raises(EnvelopeError, match="deeply"):
                unseal(raw)
