"""The campaign on the command line: checks many schedules, or describes a single one."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from campaign.attached import ATTACHED
from campaign.legs import SEVERAL_LEGS
from campaign.legs_beside import LEGS_BESIDE
from campaign.mutants import MUTANTS
from campaign.newest import NEWEST
from campaign.pool import CAMPAIGN, describe, run_campaign


def run(arguments: list[str]) -> int:
    """Run the campaign; return 1 if an invariant was violated."""
    parser = ArgumentParser(prog="python tests/campaign", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000, help="number of schedules (10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=0, help="processes (one for each core)")
    parser.add_argument("--stop", action="store_true", help="end at the first violation")
    parser.add_argument("--legs", action="store_true", help="schedules whose steps have several legs")
    parser.add_argument("--base", action="store_true", help="schedules whose legs are compared with a base agent")
    parser.add_argument("--newest", action="store_true", help="schedules whose steps judge the newest run of a source")
    parser.add_argument("--attach", action="store_true", help="schedules whose runs a process of the job answers")
    parser.add_argument("--seed", type=int, help="simulate this schedule only, and describe it in full")
    mutants = {mutant.name: mutant for mutant in MUTANTS}
    parser.add_argument("--mutant", choices=mutants, metavar="NAME", help="break the code first, as mutants.py does")
    options = parser.parse_args(arguments)
    if options.mutant:
        mutants[options.mutant].apply()
        options.jobs = 1  # other processes would run the original code
    kinds = {"legs": SEVERAL_LEGS, "base": LEGS_BESIDE, "newest": NEWEST, "attach": ATTACHED}
    rules = next((kinds[name] for name in kinds if getattr(options, name)), CAMPAIGN)
    if options.seed is not None:
        history = rules.simulate(rules.generate(options.seed))
        sys.stdout.write(describe(history, rules) + "\n")
        return 1 if rules.violations(history) else 0
    seeds = range(options.first, options.first + options.schedules)
    tally = run_campaign(seeds, jobs=options.jobs, stop=options.stop, rules=rules)
    for outcome in tally.failures[:5]:
        sys.stdout.write(f"{outcome.description}\n\n")
    for outcome in tally.failures:
        for violation in outcome.violations:
            sys.stdout.write(f"seed {outcome.seed}: {violation}\n")
    sys.stdout.write(f"{tally}\n")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
