"""Whether the wall clock can be trusted: without it an expiry time means nothing."""

from pathlib import Path

TIMESYNC = Path("/run/systemd/timesync")  # there while systemd-timesyncd runs
EARLIEST_UTC_S = 1_700_000_000  # of 2023: a clock before this has not been set


def clock_problem(utc_s: float, timesync: Path = TIMESYNC) -> str:
    """Why the clock is not to be trusted; empty: it is, or nothing here can tell.

    systemd-timesyncd(8) touches `synchronized` once it has set the clock. The kernel's own flag is
    of no use: it says "unsynchronised" wherever something else than NTP keeps the time.
    """
    if utc_s < EARLIEST_UTC_S:
        return "the clock of this machine has not been set"
    try:
        waits = timesync.is_dir() and not (timesync / "synchronized").exists()
    except OSError:
        return ""
    return "the clock of this machine is not synchronised yet" if waits else ""
