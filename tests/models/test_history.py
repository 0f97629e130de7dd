"""Reading histories and origins from files, and windows on them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from models.history import (
    History,
    HistoryError,
    format_utc,
    parse_utc_s,
    read_history,
    read_origins,
)

ROWS = "ts_utc,load_kw\n2024-01-01T00:00:00Z,1.5\n2024-01-01T00:15:00Z,\n2024-01-01T00:30:00Z,2\n"


def _file(folder: Path, text: str, name: str = "h.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_reads_a_grid_with_missing_cells(tmp_path: Path) -> None:
    history, column = read_history(_file(tmp_path, ROWS), "load")
    assert column == "load_kw"
    assert (format_utc(history.start_utc_s), history.step_s) == ("2024-01-01T00:00:00Z", 900)
    np.testing.assert_array_equal(history.values, [1.5, np.nan, 2.0])


def test_reads_gzip_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    path = tmp_path / "h.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + ROWS.replace("\n", "\r\n").encode()))
    history, _ = read_history(path, "load")
    assert len(history.values) == 3


def test_rows_that_are_left_out_count_as_missing(tmp_path: Path) -> None:
    rows = ROWS + "2024-01-01T02:30:00Z,4\n"
    history, _ = read_history(_file(tmp_path, rows), "load")
    assert len(history.values) == 11
    assert np.isnan(history.values[3:10]).all()


def test_offsets_across_a_clock_change_are_one_grid(tmp_path: Path) -> None:
    """Central Europe, 2024-10-27: 02:30 comes twice."""
    rows = "ts_utc,pv_kw\n2024-10-27T02:30:00+02:00,1\n2024-10-27T02:30:00+01:00,2\n"
    rows += "2024-10-27T02:30:00Z,3\n"
    history, _ = read_history(_file(tmp_path, rows), "pv")
    assert (history.start_utc_s, history.step_s) == (parse_utc_s("2024-10-27T00:30Z"), 3600)
    np.testing.assert_array_equal(history.values, [1, 2, 3])


def test_pv_that_a_limit_held_down_is_not_known(tmp_path: Path) -> None:
    rows = ["ts_utc,pv_kw,load_kw,curtailed_frac"]
    cells = ("3,1,0", "2,1,0.1", "3,1,", ",1,0")
    rows += [f"2024-06-01T00:{15 * n:02d}:00Z,{cell}" for n, cell in enumerate(cells)]
    path = _file(tmp_path, "\n".join(rows))
    np.testing.assert_array_equal(read_history(path, "pv")[0].values, [3.0, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(read_history(path, "load")[0].values, [1.0] * 4)
    path.write_text("\n".join([*rows, "2024-06-01T01:00:00Z,1,1,much"]))
    with pytest.raises(HistoryError, match="line 6: not a number: 'much'"):
        read_history(path, "pv")


def test_prefixed_columns_and_irradiance(tmp_path: Path) -> None:
    rows = ROWS.replace("load_kw", "h06_pv_kw")
    assert read_history(_file(tmp_path, rows), "pv")[1] == "h06_pv_kw"
    rows = "ts_utc,temp_c,ghi_w_m2\n2024-01-01T00:00:00Z,1,0\n2024-01-01T01:00:00Z,1,5\n"
    history, column = read_history(_file(tmp_path, rows), "pv")
    assert column == "ghi_w_m2"
    np.testing.assert_array_equal(history.values, [0, 5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first column must be ts_utc"),
        ("time,load_kw\n", "first column must be ts_utc"),
        ("ts_utc,pv_kw\n", "no column for load"),
        ("ts_utc,a_load_kw,b_load_kw\n", "choose with --column"),
        (ROWS + "yesterday,3\n", "line 5: not an ISO 8601 time: 'yesterday'"),
        (ROWS + "2024-01-01T00:45:00Z,much\n", "line 5: not a number: 'much'"),
        (ROWS + "2024-01-01T00:15:00Z,1\n", "line 5: 2024-01-01T00:15:00Z does not come after"),
        (ROWS + "2024-01-01T00:50:00Z,1\n", "line 5: off the regular grid of 15 min"),
        (ROWS.replace("00:15", "00:07"), "grid of 420 s"),
        (ROWS + "2224-01-01T00:15:00Z,1\n", "more than 20 years"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(HistoryError) as error:
        read_history(_file(tmp_path, text), "load")
    message = str(error.value)
    assert says in message
    assert "h.csv" in message
    assert "\n" not in message


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="No such file"):
        read_history(tmp_path / "none.csv", "pv")
    path = tmp_path / "broken.csv.gz"
    path.write_bytes(gzip.compress(ROWS.encode())[:-9])
    with pytest.raises(HistoryError, match="broken"):
        read_history(path, "load")


def test_a_history_of_one_row_or_none(tmp_path: Path) -> None:
    assert len(read_history(_file(tmp_path, "ts_utc,load_kw\n"), "load")[0].values) == 0
    one = "ts_utc,load_kw\n2024-01-01T00:00:00Z,1\n"
    assert len(read_history(_file(tmp_path, one), "load")[0].values) == 1


def test_origins(tmp_path: Path) -> None:
    path = _file(tmp_path, "# mine\n2024-01-01T00:00:00Z\n\n2024-01-01T02:00:00+01:00\n")
    assert read_origins(path) == [1704067200, 1704070800]
    with pytest.raises(HistoryError, match="line 1: not an ISO 8601 time: 'noon'"):
        read_origins(_file(tmp_path, "noon"))
    with pytest.raises(HistoryError, match="no origins"):
        read_origins(_file(tmp_path, "\n"))


def test_window_is_a_padded_copy() -> None:
    history = History(900, 900, np.array([1.0, 2.0]))
    np.testing.assert_array_equal(history.window(0, 3600), [np.nan, 1, 2, np.nan])
    np.testing.assert_array_equal(history.window(9000, 9900), [np.nan])
    history.window(900, 2700)[0] = 9
    assert history.values[0] == 1


def test_coarser_means_need_half_of_their_values() -> None:
    history = History(960, 60, np.array([1.0, np.nan, 3.0] + [np.nan] * 3 + [5.0] * 15))
    coarse = history.resampled(900)
    assert (coarse.start_utc_s, coarse.step_s) == (900, 900)
    assert coarse.values[0] == pytest.approx((1 + 3 + 5 * 8) / 10)
    assert np.isnan(coarse.values[1]) == (7 < 7.5)
    with pytest.raises(HistoryError, match="multiple"):
        history.resampled(90)


def test_grids_that_do_not_divide_a_day_are_refused() -> None:
    with pytest.raises(HistoryError, match="divide a day"):
        History(0, 7000, np.zeros(1))
