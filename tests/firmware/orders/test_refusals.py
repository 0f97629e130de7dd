"""Each kind of bad command: its reason says what is allowed, and nothing has changed."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from control.records import Sample
from control.site import SiteParameters
from firmware.config_operation import CommandSource
from firmware.orders.envelope import OPERATIONS, sign
from firmware.orders.telling import Way
from tests.firmware.orders.conftest import LOCAL, MQTT, Office, battery, genset, good

SETPOINT = {"p_w": 1000, "ttl_s": 60}


def refused(office: Office, envelope: Any, reason: str, way: Way = MQTT) -> None:
    before = office.clerk.standing, office.clerk.orders
    said = office.send(envelope, way)
    assert said["status"] == "rejected"
    assert reason in said["reason"]
    assert (office.clerk.standing, office.clerk.orders) == before


def changed(office: Office, **changes: Any) -> dict[str, Any]:
    return {**office.envelope("battery.setpoint", **SETPOINT), **changes}


# --- before the command is looked at -------------------------------------------------------


def test_retained(office: Office) -> None:
    refused(office, changed(office), "retained", Way("mqtt", retained=True))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"extra": 1}, "extra: no such field"),
        ({"v": 2}, "v: must be at most 1"),
        ({"op": "battery.explode"}, "op: must be one of mode.set, battery.setpoint"),
        ({"args": {"p_w": 1000}}, "args.ttl_s: missing"),
        ({"args": {"p_w": 1.5, "ttl_s": 60}}, "args.p_w: must be a whole number"),
        ({"args": {"p_w": "1000", "ttl_s": 60}}, "args.p_w: must be a whole number"),
        ({"args": SETPOINT | {"ttl_s": 86401}}, "args.ttl_s: must be at most 86400"),
        ({"args": SETPOINT | {"when": "now"}}, "args.when: no such field"),
        ({"args": 3}, "args: must be an object"),
        (
            {"op": "price.set", "args": {"prices": [], "ttl_s": 60}},
            "args.prices: must have at least 1 entry",
        ),
        ({"op": "price.set", "args": {"prices": 3, "ttl_s": 60}}, "args.prices: must be a list"),
        ({"op": "trade.set", "args": {"on": 1}}, "args.on: must be true or false"),
        (
            {"op": "mode.set", "args": {"mode": "dance"}},
            "args.mode: must be 'auto', 'manual' or 'stopped'",
        ),
        ({"iat": "now"}, "iat: must be a number"),
        ({"if": {"mood": "good"}}, "if.mood: no such field"),
        ({"seq": -1}, "seq: must be at least 0"),
        ({"src": "Nobody!"}, "src: must be 1 to 32 characters of a-z, 0-9, _ and -"),
        ({"sig": "short"}, "sig: must be 86 characters of A-Z, a-z, 0-9, + and /, then =="),
        ({"iat": 1_760_000_000, "exp": 1_760_000_121}, "exp: must be from iat to iat + 120 s"),
        ({"iat": 1_759_999_000, "exp": 1_759_999_060}, "expired 94"),
        ({"iat": 1_760_000_100, "exp": 1_760_000_160}, "in the future; 30 s at most"),
        ({"src": "stranger"}, "src: stranger is not in [[commands.source]]"),
        ({"src": "viewer"}, "viewer may not battery.setpoint; allowed: nothing"),
        ({"src": "market"}, "market may not battery.setpoint; allowed: trade.set, price.set"),
        ({"src": "grid-operator"}, "allowed: grid.export_limit, grid.import_limit, pv.limit"),
        ({"if": {"mode": "manual"}}, "if.mode: the mode is auto, not manual"),
        ({"if": {"gen": 17}}, "if.gen: it is 0, not 17"),
    ],
)
def test_envelopes(office: Office, changes: dict[str, Any], reason: str) -> None:
    refused(office, changed(office, **changes), reason)


def test_a_clock_that_is_not_set(office: Office) -> None:
    office.clock_problem = "the clock of this machine is not synchronised yet"
    refused(office, changed(office), "not synchronised yet")
    assert office.locally("battery.setpoint", **SETPOINT)["status"] == "accepted"


def test_a_number_that_was_used(office: Office) -> None:
    first = changed(office)
    assert office.send(first)["status"] == "accepted"
    for seq in (first["seq"], first["seq"] - 1, 0):
        refused(office, changed(office, seq=seq), f"seq: {seq} is not above the last one, 1")
    assert office.send(changed(office, seq=0, src="operator"))["status"] == "accepted"


def test_an_id_of_somebody_else(office: Office) -> None:
    first = changed(office)
    office.send(first)
    refused(office, changed(office, id=first["id"], src="operator"), "id: has been used")


def test_an_id_that_stands_is_not_used_twice_even_when_it_is_forgotten(office: Office) -> None:
    first = office.envelope("mode.set", mode="manual")
    assert office.send(first)["status"] == "accepted"
    office.clerk._journal._acks.clear()  # as after ten thousand others
    refused(office, {**office.envelope("mode.set", mode="stopped"), "id": first["id"]}, "has been")
    office.step(3)
    assert office.order("mode.set", mode="auto")["status"] == "accepted"
    office.step(3)


def test_too_many_at_once(office: Office) -> None:
    office.clock.sleep(10)
    office.clock.sleep = lambda _: None  # type: ignore[assignment,method-assign]
    said = [office.send(changed(office))["status"] for _ in range(10)]
    assert said == 10 * ["accepted"]
    refused(office, changed(office), "more than 10 commands a second from supervisor")
    assert office.send(changed(office, src="operator"))["status"] == "accepted"


def test_signatures(parameters: SiteParameters, make_sample: Callable[..., Sample]) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    source = CommandSource(name="supervisor", role="supervisor", public_key=public)
    office = Office(parameters, make_sample, sources=(source,))
    refused(office, changed(office), "sig: must be a signature by the key of supervisor")
    forged = changed(office)
    refused(office, {**forged, "sig": sign(forged, other)}, "sig: must be")
    tampered = changed(office)
    tampered["sig"] = sign(tampered, key)
    refused(office, tampered | {"args": {"p_w": 2000, "ttl_s": 60}}, "sig: must be")
    refused(office, changed(office, seq=2**40, sig=tampered["sig"]), "sig: must be")
    assert office.send(tampered)["status"] == "accepted"  # no forgery has used up its number


def test_without_a_public_key_a_signature_is_not_looked_at(office: Office) -> None:
    envelope = changed(office)
    forged = sign(envelope, Ed25519PrivateKey.generate())
    assert office.send({**envelope, "sig": forged})["status"] == "accepted"


# --- what the plant allows -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "args", "reason"),
    [
        ("battery.setpoint", SETPOINT | {"p_w": 4001}, "site's limits; allowed: -4000 to 4000 W"),
        ("battery.setpoint", SETPOINT | {"p_w": -4001}, "allowed: -4000 to 4000 W"),
        ("battery.setpoint", SETPOINT | {"device": "cellar"}, "no cellar; allowed: battery"),
        ("battery.reserve", {"soc_frac": 0.96}, "allowed: 0.25 to 0.95"),
        ("battery.reserve", {"soc_frac": 0.1}, "allowed: 0.25 to 0.95"),
        ("pv.limit", {"p_w": 5001, "ttl_s": 60}, "rating; allowed: 0 to 5000 W"),
        ("pv.limit", {"p_w": 1, "ttl_s": 60, "device": "barn"}, "no barn; allowed: roof"),
        ("grid.export_limit", {"p_w": 99000}, "allowed: 0 to"),
        ("grid.import_limit", {"p_w": 10001}, "allowed: 0 to 10000 W"),
        ("generator.start", {"ttl_s": 60, "device": "other"}, "no other; allowed: genset"),
        (
            "price.set",
            {
                "prices": [{"from": 2, "buy": 1, "sell": 0}, {"from": 2, "buy": 1, "sell": 0}],
                "ttl_s": 60,
            },
            "later than the one before",
        ),
        (
            "price.set",
            {"prices": [{"from": 2e9, "buy": 1, "sell": 0}], "ttl_s": 60},
            "begin after ttl_s",
        ),
    ],
)
def test_bounds(office: Office, op: str, args: dict[str, Any], reason: str) -> None:
    refused(office, office.envelope(op, **args), reason)


def test_what_the_battery_allows_now(office: Office) -> None:
    office.seen["batteries"] = battery(charge_limit_kw=0.5, discharge_limit_kw=4.0)
    office.step()
    reason = "limits that the battery has now; allowed: -500 to 4000 W"
    refused(office, office.envelope("battery.setpoint", p_w=-1000, ttl_s=60), reason)


@pytest.mark.parametrize(
    ("part", "op", "args", "reason"),
    [
        ("battery", "battery.setpoint", SETPOINT, "this site has no battery"),
        ("battery", "battery.reserve", {"soc_frac": 0.5}, "this site has no battery"),
        ("grid", "grid.export_limit", {"p_w": 0}, "this site has no grid connection"),
        ("generator", "generator.stop", {"ttl_s": 60}, "this site has no generator"),
        ("pv", "pv.limit", {"p_w": 0, "ttl_s": 60}, "this site has no PV"),
    ],
)
def test_what_a_site_does_not_have(
    parameters: SiteParameters,
    make_sample: Callable[..., Sample],
    part: str,
    op: str,
    args: dict[str, Any],
    reason: str,
) -> None:
    site = replace(parameters, **{part: () if part == "pv" else None})
    office = Office(site, make_sample)
    refused(office, office.envelope(op, **args), reason)


def test_the_generators_timers(office: Office) -> None:
    start = {"ttl_s": 7200}
    assert office.order("generator.start", **start)["status"] == "accepted"
    office.seen["generators"] = genset("running", 2.0)
    office.step(100)
    left = "minimum run: 1701 s left"
    refused(office, office.envelope("generator.stop", ttl_s=60), left)
    office.step(20, 100.0)
    assert office.order("generator.stop", ttl_s=60)["status"] == "accepted"
    office.seen["generators"] = genset("stopped")
    office.step(2)
    refused(office, office.envelope("generator.start", **start), "minimum rest: 599 s left")


def test_a_locked_generator(office: Office) -> None:
    locked = replace(office.state.generator, locked="3 failed starts", since_s=0.0)
    office.state = replace(office.state, generator=locked)
    office.step()
    envelope = office.envelope("generator.start", ttl_s=60)
    refused(office, envelope, "locked: 3 failed starts; alarm.acknowledge first")
    assert office.order("alarm.acknowledge")["status"] == "accepted"
    office.step(2)
    assert office.told[-1]["reason"] == "cleared: generator (3 failed starts)"


# --- limits are tightened only -------------------------------------------------------------


def test_limits_from_elsewhere_only_tighten(office: Office) -> None:
    assert office.order("grid.export_limit", p_w=2000, ttl_s=600)["status"] == "accepted"
    for src in ("supervisor", "operator", "grid-operator"):
        for wanted in (2001, 5000):
            envelope = office.envelope("grid.export_limit", src, p_w=wanted)
            refused(office, envelope, "would loosen the limit in force")
    refused(office, office.envelope("grid.export_limit", p_w=None), "allowed: 0 to 2000 W")
    assert office.order("grid.export_limit", p_w=1000, ttl_s=10)["status"] == "accepted"
    office.step(12)
    assert office.clerk.orders.export_max_kw == 2.0  # the longer one still stands
    assert office.locally("grid.export_limit", p_w=None)["status"] == "accepted"
    assert office.clerk.orders.export_max_kw is None


def test_on_site_a_limit_may_be_loosened_but_not_the_grid_operators(office: Office) -> None:
    office.order("grid.export_limit", p_w=1000)
    assert office.locally("grid.export_limit", p_w=3000)["status"] == "accepted"
    assert office.clerk.orders.export_max_kw == 3.0
    office.order("grid.export_limit", "grid-operator", p_w=2000)
    said = office.locally("grid.export_limit", p_w=None)
    assert said["status"] == "accepted"
    assert "grid.export_limit 2000 W, by grid operator (grid-operator), holds" in said["reason"]
    assert office.clerk.orders.export_max_kw == 2.0
    office.step(2, 86400.0)  # it stands for a day at most
    assert office.clerk.orders.export_max_kw is None


def test_a_pv_limit_of_one_inverter_and_of_all(office: Office) -> None:
    assert office.order("pv.limit", p_w=3000, ttl_s=600)["status"] == "accepted"
    envelope = office.envelope("pv.limit", p_w=3500, ttl_s=600, device="roof")
    refused(office, envelope, "allowed: 0 to 3000 W for roof")
    assert office.order("pv.limit", p_w=1000, ttl_s=600, device="roof")["status"] == "accepted"


def test_a_source_cannot_pile_up_limits(office: Office) -> None:
    for number in range(8):
        said = office.order("grid.import_limit", p_w=5000 - number, ttl_s=600 - number)
        assert said["status"] == "accepted"
    envelope = office.envelope("grid.import_limit", p_w=100, ttl_s=10)
    refused(office, envelope, "8 limits of supervisor stand already")


# --- local lockout and arbitration ---------------------------------------------------------


def test_the_emergency_stop_locks_out(office: Office) -> None:
    office.seen["emergency_stop"] = good(True)
    office.step()
    acting = [
        ("mode.set", {"mode": "auto"}),
        ("battery.setpoint", SETPOINT),
        ("pv.limit", {"p_w": 0, "ttl_s": 60}),
        ("generator.start", {"ttl_s": 60}),
    ]
    for op, args in acting:
        refused(office, office.envelope(op, **args), "emergency stop: release it")
    pressed = "the emergency stop is still pressed"
    envelope = office.envelope("alarm.acknowledge")
    refused(office, envelope, pressed)
    office.seen["emergency_stop"] = good(False)
    office.step()
    refused(office, office.envelope("battery.setpoint", **SETPOINT), "emergency stop")
    refused(office, office.envelope("alarm.acknowledge", "operator"), "acknowledged on site only")
    assert office.order("grid.export_limit", p_w=0)["status"] == "accepted"
    assert office.locally("alarm.acknowledge")["status"] == "accepted"
    office.step(2)
    assert office.told[-1]["reason"] == "cleared: emergency stop"
    assert office.order("battery.setpoint", **SETPOINT)["status"] == "accepted"


def test_stopped_on_site_is_released_on_site(office: Office) -> None:
    assert office.locally("mode.set", mode="stopped")["status"] == "accepted"
    for src in ("operator", "supervisor"):
        envelope = office.envelope("mode.set", src, mode="auto")
        refused(office, envelope, "stopped on site by local operator (anna, on site)")
        assert office.order("mode.set", src, mode="stopped", ttl_s=1)["status"] == "accepted"
    office.step(5)
    assert office.clerk.orders.stop
    local = office.envelope("battery.setpoint", **SETPOINT)
    del local["src"], local["seq"]
    refused(office, local, "mode.set auto first", LOCAL)
    assert office.locally("mode.set", mode="auto")["status"] == "accepted"
    assert not office.clerk.orders.stop


def test_in_manual_only_operators_set(office: Office) -> None:
    office.order("mode.set", "operator", mode="manual")
    refused(office, office.envelope("battery.setpoint", **SETPOINT), "the mode is manual")
    assert office.order("battery.setpoint", "operator", **SETPOINT)["status"] == "accepted"


@pytest.mark.parametrize("key", ["src", "seq", "sig"])
def test_on_site_nobody_names_a_source(office: Office, key: str) -> None:
    envelope = office.envelope("plan.replan")
    for other in {"src", "seq"} - {key}:
        del envelope[other]
    envelope.setdefault(key, "x")
    refused(office, envelope, f"{key}: no such field in a local command", LOCAL)


# --- whatever comes ------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
FIELDS = ("v", "id", "iat", "exp", "src", "seq", "op", "args", "if", "sig", "p_w", "ttl_s")


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """An envelope with something else in some of its fields."""
    envelope: dict[str, Any] = {
        "v": 1,
        "id": draw(st.sampled_from(["0123456789", "x", "", "a/b"])),
        "iat": 1_760_000_000,
        "exp": 1_760_000_060,
        "src": draw(st.sampled_from(["supervisor", "operator", "nobody"])),
        "seq": draw(st.integers(0, 5)),
        "op": draw(st.sampled_from(OPERATIONS)),
        "args": draw(st.sampled_from([{}, {"ttl_s": 5}, {"p_w": 100, "ttl_s": 5}])),
    }
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        envelope[name] = draw(JSON)
    return json.dumps(envelope).encode()


@settings(max_examples=80)
@given(
    raws=st.lists(
        st.binary(max_size=60) | JSON.map(lambda x: json.dumps(x).encode()) | mutilated()
    ),
    retained=st.booleans(),
    local=st.booleans(),
)
def test_any_bytes_have_one_answer_or_a_line_in_the_log(
    parameters: SiteParameters,
    make_sample: Callable[..., Sample],
    raws: list[bytes],
    retained: bool,
    local: bool,
) -> None:
    office = Office(parameters, make_sample)
    for raw in raws[:20]:
        office.told.clear()
        before = office.clerk.standing
        office.send(raw, Way("local" if local else "mqtt", retained, "anna" if local else ""))
        office.clock.sleep(10.0)  # a refusal every 10 s is logged
        answers = [ack for ack in office.told if ack["status"] != "received"]
        if "superseded" in [ack["status"] for ack in answers]:
            answers = answers[:1]
        logged = office.clerk.notices.take()
        assert len(answers) == 1 or (not answers and "dropped" in logged[-1].text)
        if not answers or answers[0]["status"] == "rejected":
            assert office.clerk.standing == before
