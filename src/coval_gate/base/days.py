"""Days in UTC, as people write them: 2027-01-31. Pure."""

from datetime import UTC, date, datetime

from coval_gate.base.text import DATE

Day = date


def day_at(seconds: float) -> Day:
    """`seconds`: since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date()


def day_in(text: str) -> Day:
    """Raises ValueError if the text is anything but a day."""
    return date.fromisoformat(text if DATE.fullmatch(text) else "")
