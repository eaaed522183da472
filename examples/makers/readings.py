"""The flood of April 2026 at Al Hail bridge: readings for the CSV file and for the figure in the report."""

import random
import sys
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

STATION = "TH-OM-003"
LOCAL = timezone(timedelta(hours=4))
START = datetime(2026, 4, 14, 18, 0, tzinfo=LOCAL)
END = datetime(2026, 4, 16, 18, 0, tzinfo=LOCAL)
PEAK = datetime(2026, 4, 15, 3, 50, tzinfo=LOCAL)
FAST_STAGE = 1.50

# (minutes after START, stage in metres); straight lines between
KNOTS = (
    (0, 0.38),
    (340, 0.38),
    (390, 0.62),
    (435, 1.24),
    (470, 1.95),
    (495, 2.62),
    (511, 3.20),
    (536, 4.50),
    (560, 5.66),
    (580, 6.31),
    (590, 6.42),
    (605, 6.33),
    (640, 5.72),
    (720, 4.31),
    (840, 2.96),
    (987, 2.18),
    (1080, 1.86),
    (1320, 1.31),
    (1785, 0.92),
    (2880, 0.61),
)


@dataclass(frozen=True, slots=True)
class Row:
    time: datetime
    stage: float
    discharge: float
    battery: float
    flag: str


def rows() -> list[Row]:
    """Readings every 15 minutes, every 5 above the fast stage."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))
    from rating_curve import curve_for

    noise = random.Random(20260415)
    found = []
    time = START
    while time <= END:
        stage = _stage_at((time - START).total_seconds() / 60)
        if time != PEAK:
            stage = min(stage + noise.gauss(0, 0.004 if stage < 1.5 else 0.012), 6.41)
        stage = round(stage, 3)
        hour = time.hour + time.minute / 60
        sun = max(0.0, 1 - abs(hour - 12.5) / 6)
        battery = round(12.45 + 1.25 * sun - 0.1 * (stage > FAST_STAGE) + noise.gauss(0, 0.015), 2)
        flag = "S" if stage > 5.4 and noise.random() < 0.4 else "F" if stage >= FAST_STAGE else "G"
        found.append(Row(time, stage, round(curve_for(STATION, time.date()).discharge(stage), 1), battery, flag))
        time += timedelta(minutes=5 if stage >= FAST_STAGE or time.minute % 15 else 15)
    return found


def write(path: Path) -> None:
    lines = ["station,time,stage_m,discharge_m3s,battery_v,flag"]
    lines += [
        f"{STATION},{row.time.isoformat(timespec='minutes')},{row.stage:.3f},{row.discharge:.1f},{row.battery:.2f},{row.flag}"
        for row in rows()
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _stage_at(minute: float) -> float:
    index = min(max(bisect_right([knot[0] for knot in KNOTS], minute) - 1, 0), len(KNOTS) - 2)
    (left, low), (right, high) = KNOTS[index], KNOTS[index + 1]
    return low + (high - low) * (minute - left) / (right - left)
