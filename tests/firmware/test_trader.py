"""The trading process: when it trades, which document it follows, what stops it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from control.records import Advice
from firmware.codec import encode
from firmware.commands.community import community
from firmware.config import Site
from firmware.neighbours import Said
from firmware.position import Glance
from firmware.trader import TradingProcess
from firmware.trading import carrier
from firmware.trading.folder import Folder
from firmware.trading.identity import Identity
from firmware.trading.member import Outgoing
from firmware.trading.membership import Membership, Times
from tests.firmware.mqtt.conftest import Broker, wait_for

Start = Callable[[str], TradingProcess]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    made.start()
    yield made
    made.stop(9)


@pytest.fixture
def start(site: Site, tmp_path: Path, broker: Broker) -> Iterator[Start]:
    """A box's trading process, turned by the test; NAME is its folder."""
    made: list[TradingProcess] = []

    def begin(name: str) -> TradingProcess:
        tables = {
            "trading": site.trading.model_copy(
                update={"enabled": True, "folder": str(tmp_path / name)}
            ),
            "mqtt": site.mqtt.model_copy(update={"host": "127.0.0.1", "port": broker.port}),
        }
        made.append(TradingProcess(site.model_copy(update=tables)))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def does(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(community, [*arguments, "--folder", str(folder)])
    assert result.exit_code == 0, result.output
    return result.output


def found(folder: Path) -> None:
    does(folder, "create", "street", "--house", folder.name, "--feed-in", "0.05", "--retail", "0.3")


def invite(folder: Path, other: Path) -> None:
    """Take the box of another folder in; it has to join yet."""
    key = does(other, "join").split("invite ")[1].split()[0]
    does(folder, "invite", key, "--house", other.name)


def ask(process: TradingProcess) -> Said:
    """A question as the loop asks it."""
    seen = Glance(time.time(), time.monotonic(), "", True, True, 0.5, 0.0, 0.3, None, 12.0, 0.0,
                  1.0, 1.0, None, None, None, ())  # fmt: skip
    return process.answer({"id": 1, "glance": encode(seen), "advice": encode(Advice())})


def turned(*processes: TradingProcess, until: Callable[[], Any]) -> None:
    def done() -> Any:
        for process in processes:
            process.turn()
        return until()

    wait_for(done)


def version(process: TradingProcess) -> int:
    return process._membered.member.membership.version if process._membered else 0


def slot_s(process: TradingProcess) -> float:
    return process._membered.member.trader.timeline.slot_s if process._membered else 0.0


def test_a_box_begins_to_trade_when_it_has_joined(start: Start, tmp_path: Path) -> None:
    ann = start("ann")
    turned(ann, until=lambda: "this box is in no community" in ask(ann).market.problem)
    found(tmp_path / "ann")
    turned(ann, until=lambda: ask(ann).connected)
    said = ask(ann)
    assert (said.community, said.house, said.market.problem) == ("street", "ann", "")
    assert said.peer == Folder(tmp_path / "ann").identity().peer


def test_a_new_document_is_followed_from_the_folder_and_from_neighbours(
    start: Start, tmp_path: Path
) -> None:
    found(tmp_path / "ann")
    invite(tmp_path / "ann", tmp_path / "bob")
    does(tmp_path / "bob", "join", str(tmp_path / "ann" / "community.json"))
    ann, bob = start("ann"), start("bob")
    turned(ann, bob, until=lambda: ask(ann).connected and ask(bob).connected)
    assert version(ann) == version(bob) == 2
    invite(tmp_path / "ann", tmp_path / "cat")
    turned(ann, bob, until=lambda: version(ann) == version(bob) == 3)
    kept = Folder(tmp_path / "bob").membership()
    assert kept is not None
    assert kept.version == 3


def second_version(folder: Folder, **changes: Any) -> Membership:
    """A document that the folder's administrator signs after the first."""
    first = folder.membership()
    assert first is not None
    following = first.model_copy(update={"version": 2, "prev": first.hash, **changes})
    return following.signed(folder.administrator())


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_documents_of_one_version_the_same_holds_whichever_came_first(
    start: Start, tmp_path: Path, first: int
) -> None:
    found(tmp_path / "ann")
    folder = Folder(tmp_path / "ann")
    market = second_version(folder).market
    dearer = market.model_copy(update={"fee": market.fee + 1})
    rivals = [second_version(folder), second_version(folder, market=dearer)]
    holds = min(document.hash for document in rivals)
    ann = start("ann")
    told: list[str] = []
    turned(ann, until=lambda: ask(ann).connected)
    for document in [rivals[first], rivals[1 - first], *rivals]:
        assert ann._membered is not None
        ann._membered._consider(document.raw(), "the market", time.monotonic())
        told += [text for text in ask(ann).market.events if "administrators" in text]
    assert ann._membered is not None
    assert ann._membered.member.membership.hash == holds
    says = f"the administrators signed two documents of version 2: {holds[:16]} holds"
    assert told == [says]
    ann.close()  # and begin anew, with what is in the ledger
    turned(ann, until=lambda: ask(ann).connected)
    assert ann._membered is not None
    for document in rivals:
        ann._membered._consider(document.raw(), "the market", time.monotonic())
    assert ann._membered.member.membership.hash == holds
    kept = ann._membered.member.kept("evidence")
    assert [body["what"] for body in kept] == ["two membership documents of version 2"]
    assert "administrators" not in str(ask(ann).market.events)


def test_a_second_document_that_is_not_signed_changes_nothing(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found(tmp_path / "ann")
    ann, folder = start("ann"), Folder(tmp_path / "ann")
    turned(ann, until=lambda: ask(ann).connected)
    document = folder.membership()
    assert document is not None
    assert ann._membered is not None
    forged = document.model_copy(update={"members": []}).signed(Identity.new())
    ann._membered._consider(forged.raw(), "the market", time.monotonic())
    assert ann._membered.member.membership == document
    assert "refused: version 1: signed by 0 administrators" in caplog.text
    assert ask(ann).market.events == ()
    assert ann._membered.member.kept("evidence") == []


def test_new_times_hold_also_where_their_document_cannot_be_kept(
    start: Start, tmp_path: Path
) -> None:
    found(tmp_path / "ann")
    ann, folder = start("ann"), Folder(tmp_path / "ann")
    turned(ann, until=lambda: ask(ann).connected)
    assert ann._membered is not None
    market = ann._membered.member.membership.market
    times = Times(**{name: ms // 3 for name, ms in market.times})
    changed = second_version(folder, market=market.model_copy(update={"times": times}))
    (tmp_path / "ann" / "community.json.part").mkdir()  # no file of this name can be written
    ann._membered._consider(changed.raw(), "the market", time.monotonic())
    turned(ann, until=lambda: version(ann) == 2 and slot_s(ann) == 300.0)


def test_a_box_that_was_taken_out_says_so(start: Start, tmp_path: Path) -> None:
    found(tmp_path / "ann")
    ann = start("ann")
    turned(ann, until=lambda: ask(ann).connected)
    does(tmp_path / "ann", "remove", Folder(tmp_path / "ann").identity().peer)
    turned(ann, until=lambda: "no member" in ask(ann).market.problem)


def test_a_question_that_breaks_off_is_the_end(site: Site) -> None:
    """Who asks was killed while it wrote: nobody will ask or read again."""
    hello = {"site": site.model_dump(mode="json", by_alias=True), "nice": 0}
    lines = f'{json.dumps(hello)}\n{{"id": 1, "glance": ['
    command = (sys.executable, "-m", "firmware.trader")
    subprocess.run(command, input=lines.encode(), check=True, capture_output=True, timeout=60.0)


def test_without_a_broker_it_says_so(start: Start, tmp_path: Path, broker: Broker) -> None:
    found(tmp_path / "ann")
    broker.stop()
    ann = start("ann")
    turned(ann, until=lambda: "connection refused" in ask(ann).market.problem)
    broker.start()
    turned(ann, until=lambda: ask(ann).market.problem == "")


def test_messages_that_are_lost_are_told(
    start: Start, tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(tmp_path / "ann")
    invite(tmp_path / "ann", tmp_path / "bob")
    broker.stop()
    monkeypatch.setattr(carrier, "QUEUE_BYTES", 3 * 1256)
    ann = start("ann")
    turned(ann, until=lambda: "connection refused" in ask(ann).market.problem)
    assert ann._membered is not None
    for _ in range(5):
        ann._membered._send([Outgoing("meter", "", bytes(1000))])
    assert "messages of the market are lost: 2 too many to send since the start" in (
        ask(ann).market.events
    )


def test_a_ledger_that_takes_nothing_stops_trading_for_a_while(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(tmp_path / "ann")
    ann = start("ann")
    turned(ann, until=lambda: ask(ann).connected)
    assert ann._membered is not None
    ann._membered.member._ledger._db.execute("PRAGMA query_only = ON")
    does(tmp_path / "ann", "invite", "ab" * 32)  # to be followed, it has to be written
    turned(ann, until=lambda: "ledger.db" in ask(ann).market.problem)
    assert ann._membered is not None  # and stays so for a while
    monkeypatch.setattr("firmware.trader.REOPEN_S", 0.1)
    turned(ann, until=lambda: ask(ann).connected and not ask(ann).market.problem)
    assert version(ann) == 2


def test_a_ledger_that_was_changed_is_not_opened(start: Start, tmp_path: Path) -> None:
    found(tmp_path / "ann")
    (tmp_path / "ann" / "ledger.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    ann = start("ann")
    turned(ann, until=lambda: "ledger.db" in ask(ann).market.problem)
    assert ask(ann).community == ""


def test_one_ledger_has_one_writer(start: Start, tmp_path: Path) -> None:
    found(tmp_path / "ann")
    first, second = start("ann"), start("ann")
    turned(first, until=lambda: ask(first).connected)
    turned(second, until=lambda: "uses it already" in ask(second).market.problem)
