"""Days in UTC, as people write them: 2027-01-31. Pure."""

from datetime import UTC, date, datetime, timedelta

from coval_gate.base.text import DATE

Day = date


def day_at(seconds: float) -> Day:
    """Return the day of a moment, in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date()


def day_in(text: str) -> Day | None:
    """None if the text is anything but a day."""
    try:
        return date.fromisoformat(text) if DATE.fullmatch(text) else None
    except ValueError:
        return None


def days_after(day: Day, days: int) -> Day:
    return day + timedelta(days=days)
