"""When failed log-ins are so many that somebody should look: the options failure-alarm-*. Time comes in, in seconds.

Source: the vendor's names of the options; that percentages need some log-ins, and when an alarm is repeated, is ours.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

__all__ = ["LEAST_LOG_INS", "AlarmSettings", "FailureAlarm"]

LEAST_LOG_INS: Final = 10
"""Log-ins within the period below which a percentage says nothing."""
_SLOTS: Final = 60


class AlarmSettings(NamedTuple):
    """``period_s`` 0 is off; ``failures`` and ``percent`` ask for nothing where they are 0."""

    period_s: float = 0.0
    failures: int = 0
    percent: int = 0


class _Slot(NamedTuple):
    start_s: float
    right: int
    failed: int


class FailureAlarm:
    """Counts log-ins over a sliding period, in `_SLOTS` parts, and says once in a period that too many failed."""

    def __init__(self) -> None:
        self._settings = AlarmSettings()
        self._slots: deque[_Slot] = deque()
        self._silent_until_s = 0.0

    def __repr__(self) -> str:
        return f"<FailureAlarm {self._settings}>"

    @property
    def settings(self) -> AlarmSettings:
        """What is watched for; new settings begin to count anew."""
        return self._settings

    @settings.setter
    def settings(self, settings: AlarmSettings) -> None:
        if settings != self._settings:
            self._settings = settings
            self._slots.clear()
            self._silent_until_s = 0.0

    def note(self, now_s: float, *, is_right: bool) -> str:
        """Count a log-in; returns the sentence of an alarm, or ""."""
        settings = self._settings
        if not settings.period_s or not (settings.failures or settings.percent):
            return ""
        self._count(now_s, is_right=is_right)
        failed = sum(slot.failed for slot in self._slots)
        total = failed + sum(slot.right for slot in self._slots)
        is_too_many = 0 < settings.failures <= failed
        is_too_great = 0 < settings.percent * total <= 100 * failed and total >= LEAST_LOG_INS
        if is_right or now_s < self._silent_until_s or not (is_too_many or is_too_great):
            return ""
        self._silent_until_s = now_s + settings.period_s
        return f"{failed} of {total} log-ins have failed within {settings.period_s / 60:g} minutes"

    def _count(self, now_s: float, *, is_right: bool) -> None:
        slots, period_s = self._slots, self._settings.period_s
        while slots and slots[0].start_s <= now_s - period_s:
            slots.popleft()
        if not slots or now_s - slots[-1].start_s >= period_s / _SLOTS:
            slots.append(_Slot(now_s, 0, 0))
        last = slots[-1]
        slots[-1] = _Slot(last.start_s, last.right + is_right, last.failed + (not is_right))
