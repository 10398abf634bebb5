"""The campaign on the command line: checks many schedules, or describes a single one."""

import sys
from argparse import ArgumentParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from campaign.breaks import BREAKS
from campaign.generate import DIMENSIONS, generate, seeds_of
from campaign.pool import describe, run_campaign, violations
from campaign.simulate import simulate


def run(arguments: list[str]) -> int:
    """Run the campaign; return 1 if an invariant was violated."""
    parser = ArgumentParser(prog="python tests/campaign", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000, help="number of schedules (10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=0, help="processes (one for each core)")
    parser.add_argument("--stop", action="store_true", help="end at the first violation")
    parser.add_argument("--only", nargs="+", choices=DIMENSIONS, default=[], help="of these dimensions")
    parser.add_argument("--seed", type=int, help="simulate this schedule only, and describe it in full")
    parser.add_argument("--break", dest="broken", choices=BREAKS, metavar="NAME", help="break the code first")
    options = parser.parse_args(arguments)
    if options.broken:
        BREAKS[options.broken].apply()
        options.jobs = 1  # other processes would run the original code
    if options.seed is not None:
        history = simulate(generate(options.seed))
        sys.stdout.write(describe(history) + "\n")
        return 1 if violations(history) else 0
    seeds = seeds_of(options.only, options.first, options.schedules)
    tally = run_campaign(seeds, jobs=options.jobs, stop=options.stop)
    for outcome in tally.failures[:5]:
        sys.stdout.write(f"{outcome.description}\n\n")
    for outcome in tally.failures:
        for violation in outcome.violations:
            sys.stdout.write(f"seed {outcome.seed}: {violation}\n")
    sys.stdout.write(f"{tally}\n")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
