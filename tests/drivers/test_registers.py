"""Register maps: coding and decoding, request planning, sparing flash."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.device import Table
from drivers.registers import (
    FlashGuard,
    Kind,
    Register,
    RegisterMap,
    Wear,
    Words,
    decode,
    encode,
    text,
)

RANGES = {
    Kind.U16: (0, 0xFFFF),
    Kind.I16: (-0x8000, 0x7FFF),
    Kind.U32: (0, 0xFFFF_FFFF),
    Kind.I32: (-0x8000_0000, 0x7FFF_FFFF),
    Kind.U64: (0, 1 << 53),
}


class Memory:
    """One unit, in memory."""

    def __init__(self, words):
        self.words, self.requests, self.writes = words, [], []

    def read(self, address, count, table=Table.HOLDING):
        self.requests.append((table, address, count))
        return [self.words.get(address + i, 0xDEAD) for i in range(count)]

    def write(self, address, values):
        self.writes.append((address, list(values)))
        self.words.update(enumerate(values, start=address))


@given(st.data(), st.sampled_from(sorted(RANGES)), st.sampled_from(list(Words)))
def test_integers_survive_a_round_trip(data, kind, order):
    low, high = RANGES[kind]
    number = data.draw(st.integers(low, high))
    register = Register("x", 0, kind, words=order)
    words = encode(register, number)
    assert len(words) == register.size
    assert all(0 <= word <= 0xFFFF for word in words)
    assert decode(register, words) == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(list(Words)))
def test_floats_survive_a_round_trip(number, order):
    register = Register("x", 0, Kind.F32, words=order)
    assert decode(register, encode(register, number)) == number


@given(st.floats(-3276, 3276))
def test_scaled_values_are_rounded_to_the_resolution(number):
    register = Register("x", 0, Kind.I16, 0.1)
    assert decode(register, encode(register, number)) == pytest.approx(number, abs=0.0501)


@given(st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4), st.sampled_from(list(Kind)))
def test_whatever_a_device_sends_decodes_to_a_finite_number_or_none(words, kind):
    if kind is Kind.STRING:
        assert text(words).isprintable()
        return
    register = Register("x", 0, kind, 0.1)
    value = decode(register, words[: register.size])
    assert value is None or math.isfinite(value)


def test_word_order_is_that_of_the_wire():
    words = list(struct.unpack(">2H", struct.pack(">f", 230.5)))
    assert decode(Register("x", 0, Kind.F32), words) == 230.5
    assert decode(Register("x", 0, Kind.F32, words=Words.LITTLE), words[::-1]) == 230.5
    assert encode(Register("x", 0, Kind.U32, words=Words.LITTLE), 0x12345678) == [0x5678, 0x1234]


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800000, 0xFF800000, 0x7F800001])
def test_non_finite_floats_are_no_values(bits):
    assert decode(Register("x", 0, Kind.F32), [bits >> 16, bits & 0xFFFF]) is None


def test_sentinels_and_impossible_values_are_no_values():
    register = Register("x", 0, Kind.U16, 0.1, frozenset({0xFFFF}), low=1, high=100)
    assert [decode(register, [raw]) for raw in (0xFFFF, 0, 9, 10, 1000, 1001)] == [
        None,
        None,
        None,
        1.0,
        100.0,
        None,
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 65536, 65535])
def test_what_does_not_fit_or_means_nothing_is_not_written(value):
    with pytest.raises(ValueError, match="x: "):
        encode(Register("x", 0, Kind.U16, sentinels=frozenset({0xFFFF})), value)


def test_a_float_too_large_is_not_written():
    with pytest.raises(ValueError, match="does not fit f32"):
        encode(Register("x", 0, Kind.F32), 1e39)


def test_a_map_reads_neighbours_in_one_request_and_keeps_tables_apart():
    memory = Memory({10: 1, 13: 2, 300: 3})
    fields = (
        Register("c", 300, Kind.U16),
        Register("a", 10, Kind.U16),
        Register("b", 13, Kind.U16),
        Register("d", 10, Kind.U16, table=Table.INPUT),
    )
    values = RegisterMap(*fields, gap=2).read(memory)
    assert values == {"a": 1, "b": 2, "c": 3, "d": 1}
    assert sorted(memory.requests) == [
        (Table.HOLDING, 10, 4),
        (Table.HOLDING, 300, 1),
        (Table.INPUT, 10, 1),
    ]
    memory.requests.clear()
    RegisterMap(*fields).read(memory)
    assert len(memory.requests) == 4


@given(st.lists(st.integers(0, 400), min_size=1, max_size=40, unique=True), st.integers(0, 50))
def test_no_request_is_longer_than_modbus_allows(addresses, gap):
    memory = Memory({address: address for address in range(402)})
    fields = [Register(str(address), address, Kind.U16) for address in addresses]
    assert RegisterMap(*fields, gap=gap).read(memory) == {str(each): each for each in addresses}
    assert all(1 <= count <= 125 for _, _, count in memory.requests)


def test_flash_is_written_on_change_and_rarely():
    register = Register("mode", 5, Kind.U16, wear=Wear.FLASH)
    memory, guard = Memory({5: 1}), FlashGuard(300)
    assert guard.write(memory, register, 3, now_s=0)
    assert guard.write(memory, register, 3, now_s=1)
    assert len(memory.writes) == 1
    memory.words[5] = 1  # another master
    assert not guard.write(memory, register, 3, now_s=299)
    assert guard.write(memory, register, 3, now_s=300)
    assert len(memory.writes) == 2
    assert guard.write(memory, register, 5, now_s=1e6, dead_band=2)
    assert len(memory.writes) == 2


def test_volatile_registers_are_written_at_once():
    register = Register("power", 5, Kind.U16)
    memory, guard = Memory({5: 1}), FlashGuard(300)
    for value in (2, 3, 4):
        assert guard.write(memory, register, value, now_s=0)
    assert memory.writes == [(5, [2]), (5, [3]), (5, [4])]
