"""Stage to discharge for Tarnholm stations.

A rating curve is a list of segments, each of the form Q = C * (h - h0) ** b and valid from a lowest stage upwards.
Stages are metres above station datum, discharges cubic metres per second, times are aware datetimes.

Maintainer: Petter Dahlqvist. Curves are changed only with a rating sheet signed by two people (see QS-2019-004).
"""

from __future__ import annotations

import csv
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

MAX_EXTRAPOLATION = 1.5  # times the highest gauged stage
SURFACE_COEFFICIENT = 0.86  # surface velocity to mean velocity, unless the station sheet says otherwise
DESPIKE_WINDOW = 7  # readings
DESPIKE_LIMIT_MM = 180  # a reading further than this from the running median is set aside
MAX_ESTIMATED_SHARE = 0.03  # of a month, for the availability promised in agreements
SAMRA_LAG = timedelta(minutes=47)  # upper gorge to Al Hail bridge, flood of April 2026

AVAILABLE_FLAGS = frozenset("GFSE")


class RatingError(ValueError):
    """A stage or date that no curve of the station covers."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One branch of a curve, valid from stage `start` to the start of the next."""

    start: float
    c: float
    h0: float
    b: float

    def discharge(self, stage: float) -> float:
        return self.c * max(stage - self.h0, 0.0) ** self.b


@dataclass(frozen=True, slots=True)
class Curve:
    """A rating curve with its period of validity and the highest stage at which anybody measured."""

    number: str
    valid_from: date
    highest_gauged: float
    surveyed: bool
    segments: tuple[Segment, ...]

    def discharge(self, stage: float) -> float:
        """Discharge in m3/s. Raises RatingError above the permitted extrapolation."""
        limit = self.highest_gauged * MAX_EXTRAPOLATION
        if stage > limit and not self.surveyed:
            raise RatingError(
                f"curve {self.number}: stage {stage:.2f} m is above {limit:.2f} m and no survey covers it"
            )
        starts = [segment.start for segment in self.segments]
        return self.segments[max(bisect_right(starts, stage) - 1, 0)].discharge(stage)


@dataclass(frozen=True, slots=True)
class Reading:
    time: datetime
    stage: float
    flag: str


CURVES: dict[str, tuple[Curve, ...]] = {
    "TH-OM-003": (
        Curve("OM003-02", date(2019, 10, 1), 2.35, False, (Segment(0.0, 27.1, 0.31, 1.66),)),
        Curve(
            "OM003-04",
            date(2024, 3, 1),
            3.71,
            True,
            (Segment(0.0, 29.5, 0.35, 1.62), Segment(1.80, 39.0, 0.62, 1.94)),
        ),
    ),
    "TH-SE-014": (
        Curve(
            "SE014-11",
            date(2017, 6, 15),
            3.44,
            False,
            (Segment(0.0, 18.8, 0.42, 1.71), Segment(1.55, 24.6, 0.50, 1.83)),
        ),
    ),
    "TH-CL-002": (Curve("CL002-01", date(2022, 11, 20), 2.90, False, (Segment(0.0, 33.2, 0.28, 1.58),)),),
}


def curve_for(station: str, day: date) -> Curve:
    """The curve in force at a station on a day."""
    past = [curve for curve in CURVES.get(station, ()) if curve.valid_from <= day]
    if not past:
        raise RatingError(f"no rating curve for {station} on {day.isoformat()}")
    return max(past, key=lambda curve: curve.valid_from)


def read_csv(path: Path) -> Iterator[Reading]:
    """Readings of one file in time order; missing stages are left out."""
    with path.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["stage_m"]:
                yield Reading(datetime.fromisoformat(row["time"]), float(row["stage_m"]), row["flag"])


def despike(readings: Sequence[Reading]) -> list[Reading]:
    """Flags readings that stand out from the running median with D; the values stay as they are."""
    half = DESPIKE_WINDOW // 2
    checked = []
    for index, reading in enumerate(readings):
        window = readings[max(index - half, 0) : index + half + 1]
        median = statistics.median(other.stage for other in window)
        far = abs(reading.stage - median) * 1000 > DESPIKE_LIMIT_MM
        checked.append(replace(reading, flag="D") if far else reading)
    return checked


def fill_from_below(
    gap_start: datetime, gap_end: datetime, below: Iterable[Reading], *, lag: timedelta
) -> list[Reading]:
    """Estimates a gap at an upper station from the station below it, shifted back by the travel time."""
    return [
        Reading(reading.time - lag, reading.stage, "E")
        for reading in below
        if gap_start <= reading.time - lag < gap_end
    ]


def availability(readings: Sequence[Reading], *, expected: int) -> float:
    """Share of expected readings that count as available; estimated ones count up to MAX_ESTIMATED_SHARE."""
    if expected <= 0:
        raise ValueError("expected must be positive")
    estimated = sum(reading.flag == "E" for reading in readings)
    measured = sum(reading.flag in AVAILABLE_FLAGS for reading in readings) - estimated
    return (measured + min(estimated, int(expected * MAX_ESTIMATED_SHARE))) / expected


def peak(station: str, readings: Iterable[Reading]) -> tuple[Reading, float]:
    """The highest usable reading and its discharge."""
    usable = [reading for reading in readings if reading.flag in AVAILABLE_FLAGS]
    if not usable:
        raise RatingError(f"no usable reading for {station}")
    top = max(usable, key=lambda reading: reading.stage)
    return top, curve_for(station, top.time.date()).discharge(top.stage)


if __name__ == "__main__":
    import sys

    flood = despike(list(read_csv(Path(sys.argv[1]))))
    highest, flow = peak("TH-OM-003", flood)
    print(f"{highest.time:%Y-%m-%d %H:%M} {highest.stage:.2f} m {flow:,.0f} m3/s")
