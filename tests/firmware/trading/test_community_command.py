"""`nanogrid community`: three boxes from nothing, as their owners would."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from firmware.cli import cli
from firmware.trading.folder import Folder

PRICES = ("--feed-in", "0.05", "--retail", "0.30")


def community(folder: Path, *arguments: str | Path) -> Result:
    command = ["community", *map(str, arguments), "--folder", str(folder)]
    return CliRunner().invoke(cli, command)


def key_of(folder: Path) -> str:
    done = community(folder, "join")
    assert done.exit_code == 0
    return done.stdout.split("invite ")[1].split()[0]


@pytest.fixture
def boxes(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in ("ann", "bob", "cat")]


def test_three_boxes_from_nothing(boxes: list[Path]) -> None:
    admin, *others = boxes
    assert community(admin, "create", "street", "--house", "ann", *PRICES).exit_code == 0
    for box in others:
        done = community(admin, "invite", key_of(box), "--house", box.name, "--max-kw", "4")
        assert (done.exit_code, done.stderr) == (0, "")
    for box in others:
        done = community(box, "join", admin / "community.json")
        assert (done.exit_code, done.stderr) == (0, "")
        assert "community street, version 3" in done.stdout
        assert "administrator" in done.stdout
    lists = []
    for box in boxes:
        done = community(box, "members")
        assert done.exit_code == 0
        assert "street, version 3, slots of 900 s" in done.stdout
        assert "prices 0.05 to 0.3 per kWh, fee 0.01" in done.stdout
        assert f"{Folder(box).identity().peer}  {box.name}" in done.stdout
        assert done.stdout.count("(this box)") == 1
        lists.append(done.stdout.replace("  (this box)", ""))
    assert lists[0] == lists[1] == lists[2]
    assert "cat              buys 1000 Wh, sells 1000 Wh per slot" in lists[0]
    assert len({(box / "community.json").read_bytes() for box in boxes}) == 1


def test_short_slots_shrink_all_times(boxes: list[Path]) -> None:
    assert community(boxes[0], "create", "street", "--slot", "10", *PRICES).exit_code == 0
    document = Folder(boxes[0]).membership()
    assert document is not None
    assert (document.timeline().slot_s, document.timeline().gate_s) == (10.0, 1.333)


def test_keys_are_made_once_and_for_the_owner_alone(boxes: list[Path]) -> None:
    assert key_of(boxes[0]) == key_of(boxes[0])
    assert stat.S_IMODE((boxes[0] / "identity.pem").stat().st_mode) == 0o600


def test_a_box_taken_out_is_told_so(boxes: list[Path]) -> None:
    admin, bob, _ = boxes
    community(admin, "create", "street", *PRICES)
    community(admin, "invite", key_of(bob))
    community(bob, "join", admin / "community.json")
    peer = Folder(bob).identity().peer
    assert community(admin, "remove", peer).exit_code == 0
    done = community(bob, "join", admin / "community.json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "version 3: this box is not in it" in done.stderr
    assert "no member" in community(admin, "remove", peer).stderr


def test_what_cannot_be_joined(boxes: list[Path], tmp_path: Path) -> None:
    admin, bob, cat = boxes
    community(admin, "create", "street", *PRICES)
    done = community(bob, "join", admin / "community.json")
    assert "version 1: this box is not in it" in done.stderr
    community(admin, "invite", key_of(bob))
    text = (admin / "community.json").read_text()
    forged = tmp_path / "forged.json"
    forged.write_text(text.replace('"fee":1000', '"fee":1'))
    assert "signed by 0 administrators, 1 needed" in community(bob, "join", forged).stderr
    assert community(bob, "join", admin / "community.json").exit_code == 0
    community(cat, "create", "street", *PRICES)
    community(cat, "invite", key_of(bob))
    community(cat, "invite", key_of(bob))
    done = community(bob, "join", cat / "community.json")
    assert "signed by 0 administrators, 1 needed" in done.stderr
    assert "No such file" in community(bob, "join", tmp_path / "none").stderr
    forged.write_text("{")
    assert "not JSON" in community(bob, "join", forged).stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("create", "Main Street", *PRICES),
            "community: must be 1 to 32 characters of a-z, 0-9, _",
        ),
        (("create", "street", "--feed-in", "0.30", "--retail", "0.05"), "at least price_floor"),
        (("create", "street", "--feed-in", "x", "--retail", "1"), "up to 5 decimals allowed"),
        (("create", "street", "--feed-in", "0.000001", "--retail", "1"), "up to 5 decimals"),
        (("create", "street"), "Missing option '--feed-in'"),
        (("invite", "abc"), "64 hex digits allowed"),
        (("invite", "ab" * 32), "this box is in no community"),
        (("remove", "x"), "this box is in no community"),
        (("members",), "this box is in no community"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    tmp_path: Path, arguments: tuple[str, ...], error: str
) -> None:
    done = community(tmp_path / "box", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


def test_only_the_administrator_changes_the_community(boxes: list[Path]) -> None:
    admin, bob, cat = boxes
    community(admin, "create", "street", *PRICES)
    assert "in a community already" in community(admin, "create", "lane", *PRICES).stderr
    community(admin, "invite", key_of(bob))
    community(bob, "join", admin / "community.json")
    done = community(bob, "invite", key_of(cat))
    assert done.exit_code == 2
    assert "this box has no administrator" in done.stderr
    (bob / "community.json").write_text("[]")
    assert community(bob, "members").exit_code == 2
