"""Known failures: entries of the configuration file; until a date, their test cases decide nothing. Pure."""

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, product
from typing import Final, NamedTuple

from coval_gate.base.text import Day, day_in, folded, in_words, one_line, quoted
from coval_gate.inputs.checks import acts_as
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import GATE, LAUNCH_IDS, LAUNCHING_MODES, LegInputs
from coval_gate.inputs.naming import NAME_SHOWN

KNOWN_KEY: Final = "known_failures"
REQUIRED: Final = ("test_case", "reason", "until")
ENTRY_KEYS: Final = (*REQUIRED, "metric", "leg")
LONGEST_EXCUSE: Final = 200  # characters
MOST_AHEAD: Final = 90  # days
SHARE: Final = 10  # at most one in ten test cases of a leg may be known
NAMES_SHOWN: Final = 5


class KnownFailure(NamedTuple):
    """`metric`: empty for the whole conversation. `leg`: empty for every leg. `until`: the last day, in UTC."""

    test_case: str
    reason: str
    until: Day
    metric: str = ""
    leg: str = ""
    line: int = 0

    def is_about(self, *names: str) -> bool:
        """Return whether it is about a leg with these names."""
        return not self.leg or folded(self.leg) in map(folded, names)

    def overlaps(self, other: "KnownFailure") -> bool:
        names = ((self.metric, other.metric), (self.leg, other.leg))
        return self.test_case == other.test_case and all("" in pair or len({*map(folded, pair)}) == 1 for pair in names)


def entry_of(texts: dict[str, str], line: int) -> KnownFailure:
    """Return the entry with these texts. Raises ValueError with the end of a sentence about it."""
    if lacking := [name for name in REQUIRED if not texts.get(name)]:
        raise ValueError(f"has no {in_words(lacking)}; an entry has test_case, reason, and until, its last day.")
    if wrong := texts.keys() - {*ENTRY_KEYS}:
        raise ValueError(f"has the key {quoted(min(wrong))}; its keys are {in_words(ENTRY_KEYS)}.")
    case, reason, until = (texts[name] for name in REQUIRED)
    if not IDENTIFIER.fullmatch(case):
        raise ValueError(f"must name the id of a test case in test_case; got {quoted(case)}.")
    if len(reason) > LONGEST_EXCUSE:
        raise ValueError(f"must have a reason of at most {LONGEST_EXCUSE} characters; got {len(reason):,}.")
    try:
        day = day_in(until)
    except ValueError:
        raise ValueError(f"must name a day such as 2027-01-31 in until; got {quoted(until)}.") from None
    return KnownFailure(case, one_line(reason), day, texts.get("metric", ""), texts.get("leg", ""), line)


def contradictions(known: Sequence[KnownFailure], parts: Sequence[LegInputs], today: Day) -> Iterator[tuple[int, str]]:
    """Yield contradictions between valid entries: the line, and a sentence.

    `parts`: all legs; empty if the file's legs are unusable.
    """
    mode = parts[0].inputs.mode if parts else ""
    for one, other in combinations(known, 2):
        if one.overlaps(other):
            yield _mistake(other, f"excuses the same as the entry in line {one.line}; keep one of the two.")
    for entry in known:
        if entry.until > (last := Day.fromordinal(today.toordinal() + MOST_AHEAD)):
            yield _mistake(entry, f"ends on {entry.until}; until may be {last} at the latest, {MOST_AHEAD} days ahead.")
        about = [part.inputs for part in parts if entry.is_about(*_leg_names(part))]
        if not about and mode in (*LAUNCHING_MODES, "plan", "wait"):
            names = in_words([quoted(part.name, NAME_SHOWN) for part in parts if part.name], most=NAMES_SHOWN)
            instead = f"the legs are {names}" if names else "the file lists no legs"
            yield _mistake(entry, f"names the leg {quoted(entry.leg, NAME_SHOWN)}, which does not exist; {instead}.")
        elif about and entry.metric and acts_as(about[0]) in GATE.modes:
            thresholds = [threshold for inputs in about for threshold in inputs.thresholds]
            read = dict.fromkeys(threshold.metric for threshold in thresholds if threshold.metric)
            by_target = any(threshold.aggregate.kind.uses_targets for threshold in thresholds)
            if by_target or any(inputs.use_metric_targets for inputs in about):
                continue  # the run shows which metrics have a target
            if folded(entry.metric) not in map(folded, read):
                names = in_words([*map(quoted, read)], most=NAMES_SHOWN)
                instead = f"write it as a threshold does: {names}" if names else "no threshold names a metric"
                yield _mistake(entry, f"names the metric {quoted(entry.metric)}, which no threshold reads; {instead}.")


def _mistake(entry: KnownFailure, what: str) -> tuple[int, str]:
    return (entry.line, f"{KNOWN_KEY}: {entry.test_case} {what}")


def _leg_names(part: LegInputs) -> Iterator[str]:
    """Yield the names that reports give to a leg, which has one for each combination of ids, and to all of them."""
    yield part.name
    several = [ids for name in LAUNCH_IDS if len(ids := getattr(part.inputs, name)) > 1]
    yield from (" · ".join(filter(None, (part.name, *ids))) for ids in product(*several))


def excess_text(known: Collection[str], cases: Collection[str]) -> str:
    """Return a sentence if a leg with these test cases has too many known failures; empty if it does not."""
    found, most = len(set(known).intersection(cases)), max(1, len(cases) // SHARE)
    if found <= most:
        return ""
    return f"names {found:,} of {len(cases):,} test cases; at most a tenth, {most:,}, may be known failures."
