"""What is a market book, and what is said of a file that is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.canonical import canonical, digest, parse
from control.market_book import Book


def content(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "epoch": 1969123,
        "seed": "aB" * 32,
        "fee": 200,
        "price_floor": 7000,
        "price_ceiling": 13000,
        "orders": [{"peer": "h", "side": "buy", "steps": [{"px": 9000, "q": 5}]}],
    } | changes


def order(**changes: Any) -> dict[str, Any]:
    return {"orders": [{"peer": "h", "side": "buy", "steps": [{"px": 9000, "q": 5}]} | changes]}


def step(**changes: Any) -> dict[str, Any]:
    return order(steps=[{"px": 9000, "q": 5} | changes])


def test_a_book() -> None:
    book = Book.from_dict(content())
    assert (book.epoch, book.seed, book.fee) == (1969123, b"\xab" * 32, 200)
    assert book.orders[0].steps == ((9000, 5),)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 2}, "version = 2: 1 allowed"),
        ({"version": True}, "version = True: an integer allowed"),
        ({"epoch": -1}, "epoch = -1: at least 0 allowed"),
        ({"epoch": "1"}, "epoch = '1': an integer allowed"),
        ({"seed": "ab"}, "seed = 'ab': 64 hex digits allowed"),
        ({"seed": " " * 64}, "seed = .*: 64 hex digits allowed"),
        ({"seed": 5}, "seed = 5: a text allowed"),
        ({"fee": -1}, "fee = -1: at least 0 allowed"),
        ({"fee": 1.0}, "fee = 1.0: an integer allowed"),
        ({"price_floor": None}, "price_floor = None: an integer allowed"),
        ({"price_ceiling": 6999}, "price_ceiling = 6999: at least price_floor = 7000 allowed"),
        ({"orders": {}}, "orders = {}: a list allowed"),
        ({"orders": [5]}, r"orders\[0\] = 5: an object allowed"),
        ({"extra": 1}, "'extra': no such key; version, epoch"),
        (order(peer=5), r"orders\[0\].peer = 5: a text allowed"),
        (order(peer="\ud800"), r"orders\[0\].peer = .*: Unicode text allowed"),
        (order(side="Buy"), r"orders\[0\].side = 'Buy': \"buy\" or \"sell\" allowed"),
        (order(side=[]), r"orders\[0\].side = \[\]: \"buy\" or \"sell\" allowed"),
        (order(steps="no"), r"orders\[0\].steps = 'no': a list allowed"),
        (order(zone="A"), r"orders\[0\].'zone': no such key; peer, side, steps allowed"),
        (order(steps=[[1, 2]]), r"orders\[0\].steps\[0\] = \[1, 2\]: an object allowed"),
        (step(px=True), r"orders\[0\].steps\[0\].px = True: an integer allowed"),
        (step(q=2.0), r"orders\[0\].steps\[0\].q = 2.0: an integer allowed"),
        (step(q="x" * 99), r"orders\[0\].steps\[0\].q = 'x{50,60}\.\.\.: an integer allowed"),
        (step(unit="Wh"), r"orders\[0\].steps\[0\].'unit': no such key; px, q allowed"),
    ],
)
def test_an_error_names_the_key(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error) as caught:
        Book.from_dict(content(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", content())
def test_every_key_is_needed(key: str) -> None:
    book = content()
    del book[key]
    with pytest.raises(ValueError, match=f"^{key}: missing$"):
        Book.from_dict(book)


@pytest.mark.parametrize("key", ["peer", "side", "steps"])
def test_every_key_of_an_order_is_needed(key: str) -> None:
    book = content()
    del book["orders"][0][key]
    with pytest.raises(ValueError, match=rf"^orders\[0\].{key}: missing$"):
        Book.from_dict(book)


def test_every_key_of_a_step_is_needed() -> None:
    with pytest.raises(ValueError, match=r"^orders\[0\].steps\[0\].q: missing$"):
        Book.from_dict(content(**order(steps=[{"px": 1}])))


@pytest.mark.parametrize("other", [[], "x", None, 5])
def test_a_book_is_an_object(other: Any) -> None:
    with pytest.raises(ValueError, match=r"book = .*: an object allowed"):
        Book.from_dict(other)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b'{"a":1,"a":1}', 'key "a" twice in one object'),
        (b'{"a":1.0}', "1.0: only integers are allowed"),
        (b'{"a":1e3}', "1e3: only integers are allowed"),
        (b'{"a":NaN}', "NaN: only integers are allowed"),
        (b'{"a":-Infinity}', "-Infinity: only integers are allowed"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "not JSON: .*utf-8"),
        (b"{", "not JSON: Expecting"),
        (b"", "not JSON: Expecting"),
        (b"1" * 5000, "Exceeds the limit"),
    ],
)
def test_json_that_leaves_doubt_is_refused(raw: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse(raw)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(TREES)
def test_canonical_json_comes_back_and_ignores_the_order_of_keys(value: Any) -> None:
    assert parse(canonical(value)) == value
    if isinstance(value, dict):
        assert digest(dict(reversed(value.items()))) == digest(value)


def test_canonical_json_is_utf_8_without_escapes() -> None:
    assert canonical({"b": [1, 2], "a": "Ж"}) == '{"a":"Ж","b":[1,2]}'.encode()
    with pytest.raises(ValueError, match="surrogates"):
        canonical("\ud800")
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))


@given(st.text() | st.binary().map(repr))
def test_no_text_makes_the_reader_fall(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Book.from_dict(parse(json.dumps([text]).encode()))
