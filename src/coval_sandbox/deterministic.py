"""What makes a sandbox repeatable: its clocks, and seeded identifiers with the lengths that Coval documents."""

import string
import time
from collections.abc import Callable
from random import Random

Clock = Callable[[], float]
ALPHANUMERIC = string.ascii_letters + string.digits
ID_LENGTH = 22  # of agents, personas, metrics, runs, templates and test cases
TEST_SET_ID_LENGTH = 8
ULID_LENGTH = 26  # of mutations and metric outputs
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class ManualClock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class SpeedClock:
    """A clock that starts at the real time and runs `speed` times as fast."""

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.speed = speed
        self.set(time.time())

    def __call__(self) -> float:
        """Return seconds since the epoch, in sandbox time."""
        return self._epoch + (time.monotonic() - self._start) * self.speed

    def set(self, now: float) -> None:
        """Set the time to `now`, in seconds since the epoch."""
        self._epoch, self._start = now, time.monotonic()


def rng(*parts: object) -> Random:
    """Return a generator that depends only on `parts`."""
    return Random("/".join(map(str, parts)))


def short_id(random: Random, length: int = ID_LENGTH) -> str:
    """Return a random id of letters and digits."""
    return "".join(random.choices(ALPHANUMERIC, k=length))


def ulid(seconds: float, random: Random) -> str:
    """Return a ULID: 26 characters that sort by time, in seconds since the epoch."""
    number = (int(seconds * 1000) << 80) | random.getrandbits(80)
    return "".join(CROCKFORD[number >> (5 * place) & 31] for place in reversed(range(ULID_LENGTH)))


def readable_id(stem: str, number: int, length: int = ID_LENGTH) -> str:
    """Return `stem` and `number`, with zeros between them up to `length`."""
    return stem + str(number).zfill(length - len(stem))
