"""What docs/commands.md shows is what the program takes."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware.orders.checks import LEVELS
from firmware.orders.envelope import OPERATIONS, is_signed, validated

TEXT = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
SHOWN = re.compile(r"^ {4}(\{\"v\": 1.*?)\n\n", re.MULTILINE | re.DOTALL)


def shown_envelope() -> dict[str, Any]:
    found = SHOWN.search(TEXT)
    assert found is not None
    envelope: dict[str, Any] = json.loads(found[1])
    return envelope


def test_each_operation_with_its_arguments() -> None:
    seen = set()
    for line in TEXT.splitlines():
        operations = [op for op in re.findall(r"`([a-z.]+_?[a-z]*)`", line) if op in OPERATIONS]
        if not line.startswith("| `") or not operations:
            continue
        for op in operations:
            for args in re.findall(r"`(\{.*?\})`", line):
                del (envelope := shown_envelope())["sig"]
                assert validated(envelope | {"op": op, "args": json.loads(args)}).op == op
                seen.add(op)
    assert seen == set(OPERATIONS)


def test_every_role_has_a_row() -> None:
    rows = re.search(r"\| role \|.*?\n\n", TEXT, re.DOTALL)
    assert rows is not None
    for role in (*LEVELS, "viewer"):
        assert role in rows[0]


def test_the_example_of_a_signature(tmp_path: Path, capsys: Any) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "supervisor.pem").write_bytes(pem)
    code = re.search(r"(    import base64, json\n.*?)\n\n", TEXT, re.DOTALL)
    assert code is not None
    lines = [line.removeprefix("    ") for line in code[1].splitlines()]
    del (envelope := shown_envelope())["sig"]
    envelope["args"]["device"] = "battery"
    text = "\n".join(lines).replace("supervisor.pem", str(tmp_path / "supervisor.pem"))
    exec(text, {"envelope": envelope})
    public = capsys.readouterr().out.strip()
    assert public == base64.b64encode(key.public_key().public_bytes_raw()).decode()
    assert is_signed(envelope, public)
    assert validated(envelope).sig == envelope["sig"]
