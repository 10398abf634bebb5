"""The campaign from the command line: many schedules, or one of them with all that happened."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from campaign.crew import account, campaign
from campaign.draw import draw
from campaign.mutants import MUTANTS
from campaign.play import play
from campaign.promises import violations


def run(arguments: list[str]) -> int:
    """Do what the arguments say; 1 if a promise was broken."""
    parser = ArgumentParser(prog="python tests/campaign", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=0, help="processes (one for each core)")
    parser.add_argument("--stop", action="store_true", help="end at the first violation")
    parser.add_argument("--seed", type=int, help="play this one alone, and tell all of it")
    mutants = {each.name: each for each in MUTANTS}
    parser.add_argument("--mutant", choices=mutants, metavar="NAME", help="break the code first, as mutants.py does")
    given = parser.parse_args(arguments)
    if given.mutant:
        mutants[given.mutant].apply()
        given.jobs = 1  # the other processes would play against the code as it is
    if given.seed is not None:
        played = play(draw(given.seed))
        sys.stdout.write(account(played) + "\n")
        return 1 if violations(played) else 0
    seeds = range(given.first, given.first + given.schedules)
    tally = campaign(seeds, jobs=given.jobs, stop=given.stop)
    for outcome in tally.failures[:5]:
        sys.stdout.write(f"{outcome.account}\n\n")
    for outcome in tally.failures:
        for violation in outcome.violations:
            sys.stdout.write(f"seed {outcome.seed}: {violation}\n")
    sys.stdout.write(f"{tally}\n")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
