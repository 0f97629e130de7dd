"""`nanogrid clear` as its users call it."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from firmware.cli import cli

BOOK = {
    "version": 1,
    "epoch": 1969123,
    "seed": "ab" * 32,
    "fee": 0,
    "price_floor": 7000,
    "price_ceiling": 13000,
    "orders": [
        {"peer": "house-03", "side": "buy", "steps": [{"px": 12500, "q": 1500}]},
        {"peer": "house-07", "side": "sell", "steps": [{"px": 8000, "q": 2000}]},
        {"peer": "дом", "side": "sell", "steps": []},
    ],
}
TOO_MUCH = [  # each can be written, their sum cannot
    {"peer": f"{side}{number}", "side": side, "steps": [{"px": 9000, "q": "!"}]}
    for side in ("buy", "sell")
    for number in range(2)
]


def nanogrid(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["clear", *map(str, arguments)])


def test_the_result_is_canonical_and_the_same_for_any_order(tmp_path: Path) -> None:
    outputs = set()
    for number in range(5):
        random.Random(number).shuffle(BOOK["orders"])  # type: ignore[arg-type]
        path = tmp_path / "book.json"
        path.write_text(json.dumps(BOOK, indent=number))
        done = nanogrid(path)
        assert (done.exit_code, done.stderr) == (0, "")
        assert nanogrid(path, "-o", tmp_path / "result.json").exit_code == 0
        assert (tmp_path / "result.json").read_bytes() == done.stdout_bytes
        outputs.add(done.stdout_bytes)
    (output,) = outputs
    result = json.loads(output)
    text = json.dumps(result, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert output == text.encode() + b"\n"
    assert set(result) == {"hash", "price", "rejected", "trades", "volume"}
    assert (result["price"], result["volume"]) == (8000, 1500)
    assert result["rejected"] == [
        {"peer": "дом", "reason": "0 steps: 1 to 8 allowed", "side": "sell"}
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "not JSON: Expecting value"),
        ("[]", "book = []: an object allowed"),
        (json.dumps(BOOK | {"fee": True}), "fee = True: an integer allowed"),
        (json.dumps(BOOK | {"fee": 2.0}), "2.0: only integers are allowed"),
        (json.dumps(BOOK | {"fee": float("nan")}), "NaN: only integers are allowed"),
        ('{"fee":1,"fee":1}', 'key "fee" twice in one object'),
        ("[" * 99_999, "nested too deeply"),
        ("1" * 9_999, "Exceeds the limit"),
        (json.dumps(BOOK | {"orders": TOO_MUCH}).replace('"!"', "9" * 4300), "Exceeds the limit"),
    ],
)
def test_what_is_no_book_is_one_line_and_status_2(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "book.json"
    path.write_text(text)
    done = nanogrid(path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nanogrid: {path}: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    assert nanogrid(tmp_path / "none.json").exit_code == 2
    path = tmp_path / "book.json"
    path.write_text(json.dumps(BOOK))
    done = nanogrid(path, "-o", tmp_path / "none" / "result.json")
    assert done.exit_code == 1
    assert "No such file or directory" in done.stderr
