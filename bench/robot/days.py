"""The NCLT recording, day by day: what was seen, and where the robot was.

N. Carlevaris-Bianco, A. Ushani, R. Eustice, "University of Michigan North Campus
long-term vision and lidar dataset", IJRR 2016 (ODbL), resampled to 1 Hz.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamproc.frame import Array

# name of a day, and under which name each receiver's file has it
DAYS = {
    "2013-01-10": {"gps": "gps0", "rtk": "rtk1"},
    "2013-02-23": {"gps": "gps1", "rtk": "rtk0"},
}
TRAINED = 0.8  # of a training day; the rest validates
TURNED = 4  # copies of the training day, its map turned


class Day(NamedTuple):
    """A day at 1 Hz.

    gps (T, 2): north and east, m; NaN where there was no new fix.
    odometry (T, 3): wheel speed, m/s; yaw rate, rad/s; compass heading, rad.
    truth (T, 5): north, east, heading, speed, yaw rate.
    """

    name: str
    gps: Array
    odometry: Array
    truth: Array

    @property
    def y(self) -> Array:
        """All that is seen, as statespace `wheeled_robot` orders it, (T, 5)."""
        return np.hstack((self.gps, self.odometry))

    def part(self, first: float, last: float) -> Day:
        """From a share of the day to another, beginning at a fix."""
        frames = len(self.gps)
        begin, end = int(first * frames), int(last * frames)
        begin += int(np.argmax(np.isfinite(self.gps[begin:end, 0])))
        rows = slice(begin, end)
        return Day(self.name, self.gps[rows], self.odometry[rows], self.truth[rows])

    def turned(self, angle: float) -> Day:
        """The same day on a map that is turned."""
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, s], [-s, c]])
        odometry, truth = self.odometry.copy(), self.truth.copy()
        odometry[:, 2] = wrapped(odometry[:, 2] + angle)
        truth[:, :2] = truth[:, :2] @ turn
        truth[:, 2] = wrapped(truth[:, 2] + angle)
        return Day(self.name, self.gps @ turn, odometry, truth)


def load(path: Path, name: str, receiver: str) -> Day:
    """One day of the recording. KeyError for one that is not in it."""
    with np.load(path, allow_pickle=False) as file:
        place = DAYS[name][receiver]
        found = {key: file[f"{place}/{key}"] for key in _KEYS}
    wheel, imu = found["filtered_wheel"], found["imu_sensor"]
    odometry = np.column_stack((wheel.mean(1), imu[:, 3], imu[:, 2]))
    position, heading = found["ground_truth"], found["theta_gt"][:, 0]
    north, east = np.gradient(position, axis=0).T  # in 1 s
    speed = north * np.cos(heading) + east * np.sin(heading)
    yaw_rate = np.gradient(np.unwrap(heading))
    truth = np.column_stack((position, heading, speed, yaw_rate))
    return Day(name, found["filtered_gps"], odometry, truth)


_KEYS = ("filtered_gps", "filtered_wheel", "imu_sensor", "ground_truth", "theta_gt")


def turned_copies(day: Day, copies: int = TURNED) -> list[Day]:
    """A day and its copies on turned maps: no street runs north for ever."""
    return [day.turned(2 * np.pi * k / copies) for k in range(copies)]


def wrapped(angle: Array) -> Array:
    """In [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def rmse_m(position: Array, truth: Array) -> float:
    """Root of the mean squared distance of (T, 2) from (T, 2)."""
    return float(np.sqrt(((position - truth) ** 2).sum(-1).mean()))
