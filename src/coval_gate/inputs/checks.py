"""Checks on inputs that are each valid: combinations that contradict each other, and likely mistakes."""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

from coval_gate.base.errors import InputError
from coval_gate.base.text import in_words, plural, quoted, shortened
from coval_gate.base.titles import DOCS
from coval_gate.inputs.fields import OWN_TAGS, ChosenRuns, Unset
from coval_gate.inputs.inputs import (
    FILE,
    GATE,
    LAUNCH_IDS,
    MOST_LEGS,
    NO_FILE,
    TAKING_MODES,
    UNTIL_CLEAR,
    FromFile,
    Input,
    Inputs,
    InvalidInput,
    LegInputs,
    declared,
    default_of,
    effective,
)
from coval_gate.inputs.naming import (
    FILE_ONLY,
    NAME_SHOWN,
    OLD_ACTION_INPUTS,
    WHY_WITHHELD,
    Variables,
    how_to_set,
    missing_key_reason,
    unknown_in,
)
from coval_gate.inputs.parsing import KEY_PATTERN, read_metadata
from coval_gate.inputs.thresholds import Bound, Threshold

TINY_SHARE: Final = 0.01  # a smaller bound on a rate is probably a share written as a percentage
MOST_LEGS_NAMED: Final = 3  # legs in a warning
SPLIT_MODES: Final = ("launch", "wait")
COMMIT_PAGES: Final = ("commit_status", "check_run")  # pages about the tested commit


def check_inputs(
    inputs: Inputs,
    problems: Sequence[InvalidInput],
    environ: Mapping[str, str],
    withheld: str,
    file: FromFile = NO_FILE,
    variables: Variables | None = None,
) -> None:
    """Raise InputError with every problem: the given `problems`, and inputs that contradict each other.

    `variables`: those that may be behind an empty input; None where inputs are flags. A missing API key is a problem,
    too, unless `on_missing_api_key` is skip and GitHub withholds the secrets: then `api_key` is None. `withheld` is the
    value of `Context.secrets_withheld_from`.
    """
    found = [problem for problem in problems if problem.name != "github_token" or wanted_pages(inputs)]
    wrong = _unreported({name for name, _ in found}, inputs)
    step_problems = [problem for problem in _step_problems(inputs, environ, file) if problem.name not in wrong]
    found += placed_problems(file._replace(legs=()), inputs, lambda _: step_problems)
    file_names = {FILE, file.path}
    if file.legs or not wrong & file_names:  # an unusable file may have set what seems to be missing
        found += placed_problems(file, inputs, lambda own: _leg_problems(own, wrong - file_names, variables))
    skips = inputs.on_missing_api_key == "skip"
    key_is_missing = inputs.api_key is None and "api_key" not in wrong and not (skips and withheld)
    key_is_missing &= inputs.mode != "plan"  # it checks whatever it can
    if key_is_missing:
        reason = missing_key_reason(withheld)
        reason += "; on_missing_api_key: skip is for pull requests from forks and from Dependabot" if skips else ""
        found.append(InvalidInput("api_key", f"is empty{reason}."))
    if found:
        lacks_id = any(name in {*LAUNCH_IDS} - wrong and not getattr(inputs, name) for name, _ in found)
        how = variables.key if variables and not withheld else WHY_WITHHELD[withheld][1]
        advice = [how] if key_is_missing else []
        advice += [variables.advice] if variables and lacks_id else []
        if any(name in OLD_ACTION_INPUTS for name, _ in found):
            advice.append(f"How to migrate from the older action: {DOCS}/migration.md#the-older-action")
        raise InputError(found, advice="\n".join(advice))


def _unreported(wrong: set[str], inputs: Inputs) -> set[str]:
    """Return the inputs whose contradictions are not reported: the `wrong` ones, and those that depend on them."""
    names = set(wrong)
    if "mode" in wrong and inputs.run_id:  # mode wait or cancel was probably meant
        names |= {"run_id", *LAUNCH_IDS}
    if "sub_sample_size" in wrong:
        names.add("sub_sample_seed")
    if "thresholds" in wrong:  # its valid lines count, but a threshold that another input needs may be in the others
        names = (names - {"thresholds"}) | {"base_agent_id"}
    return names


def warnings_about(inputs: Inputs, environ: Mapping[str, str], file: FromFile = NO_FILE) -> list[str]:
    """Return a sentence about each valid input that looks like a mistake; it names the legs if only some are."""
    parts = file.parts(inputs)
    overridden = in_words([*_overridden(inputs, file)])
    warnings = [f"Every leg in {file.path} sets its own {overridden}, so the step's has no effect."] * bool(overridden)
    legs_with: dict[str, list[str]] = {}
    for part in parts:
        for warning in _warnings_about(part.inputs, environ):
            legs_with.setdefault(warning, []).append(quoted(part.name))
    for warning, names in legs_with.items():
        where = "" if len(names) == len(parts) else f"In {in_words(names, most=MOST_LEGS_NAMED)} of {file.path}: "
        warnings.append(f"{where}{warning}")
    return warnings


def _overridden(inputs: Inputs, file: FromFile) -> Iterator[str]:
    """Yield the inputs of the step, or at the top of the file, that no leg uses. All thresholds add up."""
    for declaration in effective() if file.legs and inputs.only_legs is None else ():
        name = declaration.name
        is_set = name in file.places or getattr(inputs, name) != declaration.default_value
        own = (name in leg.places and leg.places[name] != file.places.get(name) for leg in file.legs)
        if is_set and all(own):
            yield name


def _warnings_about(inputs: Inputs, environ: Mapping[str, str]) -> Iterator[str]:
    yield from _unusual_ids(inputs)
    for unused in _unused(inputs):
        yield f"{unused.name} has no effect in mode {inputs.mode}."
    yield from _without_effect(inputs)
    yield from _gate_warnings(inputs)
    for name in ("display_name", "created_by", "tags"):
        if getattr(inputs, name) and getattr(read_metadata(inputs.metadata), name):
            yield f"{name} in metadata has no effect, because the input {name} is set."
    for name, meant in unknown_in(environ):
        if not meant and name not in OLD_ACTION_INPUTS:
            yield f"{name} is not an input and has no effect."


def _unusual_ids(inputs: Inputs) -> Iterator[str]:
    for declaration in effective():
        name, usual, value = declaration.name, declaration.usual_length, getattr(inputs, declaration.name)
        ids = value.ids if isinstance(value, ChosenRuns) else (value,) if isinstance(value, str) else value
        for id_ in ids if usual else ():
            if id_ and len(id_) != usual:
                yield f"{name} {quoted(id_)} has {plural(len(id_), 'character')}; such an id usually has {usual}."


def _without_effect(inputs: Inputs) -> Iterator[str]:
    judges = acts_as(inputs) in GATE.modes
    if judges and inputs.include_transcripts != "none" and not (inputs.html_path or inputs.digest_path):
        yield "include_transcripts shows no transcripts without html_path or digest_path."
    newest = inputs.run_id.newest
    if inputs.mode == "wait" and not newest and inputs.run_max_age != default_of("run_max_age"):
        yield "run_max_age has no effect: it applies only to a run_id given by tag, branch or schedule."
    if inputs.mode != "wait" and not inputs.resume and inputs.run_max_age != default_of("run_max_age"):
        yield "run_max_age has no effect: with resume: false, a re-run keeps no runs."
    if inputs.mode == "wait" and newest and inputs.cancel_on_timeout:
        yield f"cancel_on_timeout has no effect: a run that is found by {newest} is never cancelled."


def _gate_warnings(inputs: Inputs) -> Iterator[str]:
    if inputs.mode not in ("launch", "history"):  # the step that waits has the thresholds
        yield from _without_confidence(inputs)
        yield from _without_reference(inputs)
    for threshold in inputs.thresholds:
        if doubt := _doubt(threshold):
            yield f"{threshold.place}: {doubt}"


def _without_reference(inputs: Inputs) -> Iterator[str]:
    if inputs.baseline or inputs.baseline_max_age != default_of("baseline_max_age"):
        from coval_gate.features.comparisons.checks import warnings

        yield from warnings(inputs)
    deciding = (threshold for threshold in inputs.thresholds if not threshold.advisory)
    softens = any(one.takes_confidence or one.aggregate.kind.pools_runs for one in deciding)
    if inputs.repeat_on_failure and not softens:
        yield (
            "repeat_on_failure has no effect: both runs together decide only rates, averages and percentiles with <, "
            "<=, > or >=, and no threshold is one. A run that misses anything else is not repeated."
        )


def _without_confidence(inputs: Inputs) -> Iterator[str]:
    compares = any(threshold.bound.reference for threshold in inputs.thresholds)
    if inputs.confidence is None and inputs.on_inconclusive and not compares:
        yield "on_inconclusive has no effect without confidence or a baseline."
    if inputs.confidence is not None and not any(threshold.takes_confidence for threshold in inputs.thresholds):
        takers = "threshold on rate, pass_rate, avg, med or p(N) with <, <=, > or >="
        yield f"confidence has no effect: there is no {takers}."
    if inputs.spend == UNTIL_CLEAR and not (
        inputs.use_metric_targets or any(not threshold.advisory for threshold in inputs.thresholds)
    ):
        yield f"spend: {UNTIL_CLEAR} stops after the first slice: there is no threshold that decides."


def _doubt(threshold: Threshold) -> str:
    """Return why a bound looks like a mistake (all or nearly all runs meet it); empty if it does not."""
    aggregate, operator, bound = threshold.aggregate, threshold.operator, threshold.bound.number
    if threshold.bound.reference:
        return ""
    least, most = aggregate.kind.least, aggregate.kind.most
    always = {">": bound < least, ">=": bound <= least, "<": bound > most, "<=": bound >= most}
    if always.get(operator):
        return f"every run meets {threshold.text}, so it decides nothing."
    if threshold.wants_more and aggregate.is_rate and 0 < bound < TINY_SHARE:
        what = "one hit in each test case" if aggregate.kind.is_lowest else "nearly every run"
        return f"{what} meets {threshold.text}; did you mean {bound * 10_000:g}%?"
    if threshold.wants_less and aggregate.is_rate and 1 - TINY_SHARE < bound < 1:
        return f"nearly every run meets {threshold.text}; did you mean {operator.replace('<', '>')} {bound * 100:g}%?"
    return ""


def placed_problems(
    file: FromFile, inputs: Inputs, problems_of: Callable[[Inputs], Iterable[InvalidInput]]
) -> Iterator[InvalidInput]:
    """Yield problems with their places in the file; one of all legs, with an input not from the file, is the step's."""
    parts = file.parts(inputs)
    parts_with: dict[tuple[InvalidInput, tuple[int, str] | None], list[LegInputs]] = {}
    for part in parts:
        for problem in problems_of(part.inputs):
            parts_with.setdefault((problem, part.places.get(problem.name)), []).append(part)
    for (problem, place), concerned in parts_with.items():
        if problem.name == file.path or (not place and len(concerned) == len(parts)):
            yield problem
            continue
        text = f"{problem.name}{'' if problem.what[:1] == ',' else ' '}{problem.what}"
        own = [(part.line, f"legs.{shortened(part.name, NAME_SHOWN)}") for part in concerned]
        for line, where in [place] if place else own:
            yield InvalidInput(file.path, f", line {line}: {where}{': ' if where else ''}{text}")


def _step_problems(inputs: Inputs, environ: Mapping[str, str], file: FromFile) -> Iterator[InvalidInput]:
    if file.legs and inputs.run_template_id:
        yield InvalidInput(
            "run_template_id", f"cannot be combined with the legs in {file.path}, which name what they run."
        )
    yield from _mode_contradictions(inputs, file)
    yield from _key_elsewhere(inputs, environ)
    for name, meant in unknown_in(environ):
        if instead := OLD_ACTION_INPUTS.get(name, ""):
            yield InvalidInput(name, f"is an input of the older action coval-github-actions. {instead}")
        elif name in FILE_ONLY:
            yield InvalidInput(name, FILE_ONLY[name])
        elif meant:  # the user relies on that input
            yield InvalidInput(name, f"is not an input; did you mean {meant}?")


def _leg_problems(inputs: Inputs, wrong: Container[str], variables: Variables | None) -> Iterator[InvalidInput]:
    """Yield a problem for each contradiction between the inputs of a leg, without inputs that are `wrong` already."""
    reason = "" if inputs.run_template_id else _needs_ids(inputs)
    lacking = [name for name in LAUNCH_IDS if reason and not getattr(inputs, name)]
    required = [InvalidInput(name, f"is required {reason}{how_to_set(name, variables)}.") for name in lacking]
    return (problem for problem in (*required, *_run_contradictions(inputs)) if problem.name not in wrong)


def _needs_ids(inputs: Inputs) -> str:
    """Return in which case a step needs all ids, as the end of a sentence; empty if it does not."""
    mode = f"in mode {inputs.mode}"
    if inputs.mode != "wait":
        return mode if inputs.mode != "cancel" else ""
    if inputs.run_id.newest:
        return f"{mode} with run_id {inputs.run_id.newest}"
    several = [name for name in LAUNCH_IDS if len(getattr(inputs, name)) > 1]
    needing = [*several, *(name for name in ("base_agent_id", "repeat_on_failure") if getattr(inputs, name))]
    what = f"several ids in {needing[0]}" if several else next(iter(needing), "")
    return f"{mode} with {what}" if needing else ""


def _run_contradictions(inputs: Inputs) -> Iterator[InvalidInput]:
    for unused in _unused(inputs):
        if unused.group == GATE:  # otherwise the user would believe that the check is a verdict
            ways = " or ".join(unused.modes)
            name = inputs.thresholds[0].source if unused.name == "thresholds" else unused.name
            yield InvalidInput(name, f"has no effect in mode {inputs.mode}, which judges nothing; use mode {ways}.")
    yield from _gate_contradictions(inputs)
    if inputs.spend == UNTIL_CLEAR:
        from coval_gate.features.spending.checks import contradictions

        yield from contradictions(inputs)
    if inputs.test_case_ids and inputs.sub_sample_size:
        yield InvalidInput("sub_sample_size", "cannot be combined with test_case_ids; set one of the two.")
    if inputs.sub_sample_seed is not None and not inputs.sub_sample_size:
        yield InvalidInput("sub_sample_seed", "requires a sub_sample_size above 0.")
    if inputs.mode == "wait" and inputs.repeat_on_failure and inputs.sub_sample_size and inputs.sub_sample_seed is None:
        yield InvalidInput(
            "sub_sample_seed",
            "is required in mode wait with repeat_on_failure: the repetition must draw the same test cases as the run. "
            "Set it in the launch, too.",
        )
    # With such a tag, a user could mark a run as accepted, which would hide every baseline from later runs.
    for name, tags in (("tags", inputs.tags), ("metadata", read_metadata(inputs.metadata).tags)):
        if reserved := next((tag for tag in tags if tag.lower().startswith(OWN_TAGS)), ""):
            yield InvalidInput(name, f"must have no tag that begins with {OWN_TAGS}; got {quoted(reserved)}.")


def _gate_contradictions(inputs: Inputs) -> Iterator[InvalidInput]:
    yield from _bound_contradictions(inputs)
    yield from _target_contradictions(inputs)
    compared = [threshold for threshold in inputs.thresholds if threshold.bound.reference]
    if inputs.repeat_on_failure and inputs.spend == UNTIL_CLEAR:
        yield InvalidInput("repeat_on_failure", f"cannot be combined with spend: {UNTIL_CLEAR}; set one of the two.")
    elif inputs.repeat_on_failure and inputs.confidence is not None and all(one.advisory for one in compared):
        yield InvalidInput(
            "repeat_on_failure",
            "requires, with a confidence, a threshold that compares with a baseline or base. To run more test cases "
            f"while an answer is inconclusive, set spend: {UNTIL_CLEAR} instead, or remove one of the two.",
        )
    if compared or inputs.baseline or inputs.accept or inputs.base_agent_id:
        from coval_gate.features.comparisons.checks import contradictions

        yield from contradictions(inputs, compared)


def _bound_contradictions(inputs: Inputs) -> Iterator[InvalidInput]:
    for threshold in inputs.thresholds:
        if _is_impossible(threshold):
            yield InvalidInput(threshold.source, f", line {threshold.line}: no run can meet {threshold.text}.")
        elif what := _wrong_lowest(threshold, inputs):
            yield InvalidInput(threshold.source, f", line {threshold.line}: {what}.")


def _wrong_lowest(threshold: Threshold, inputs: Inputs) -> str:
    """Return what is wrong with a bound on every test case; empty if nothing is. A template may set iteration_count."""
    if not threshold.aggregate.kind.is_lowest:
        return ""
    if threshold.holds(0.0):
        return f"every run meets {threshold.text}; write > 0%, so that no test case fails in all of its conversations"
    how, raised = f"spend: {UNTIL_CLEAR}", ""
    if inputs.spend != UNTIL_CLEAR:
        how, raised, count = "this step", "raise iteration_count, or ", inputs.iteration_count
        if acts_as(inputs) != "run" or count > 1 or (inputs.run_template_id and isinstance(count, Unset)):
            return ""
    same = f"{raised}write {threshold.aggregate.if_called_once}, which is the same with one"
    return f"{threshold.text} needs several conversations of each test case, but {how} launches one; {same}"


def _target_contradictions(inputs: Inputs) -> Iterator[InvalidInput]:
    """Every simulation must meet its targets, unless a threshold sets a share."""
    if not inputs.use_metric_targets or any(threshold.sets_share for threshold in inputs.thresholds):
        return
    for threshold in inputs.thresholds:
        requires_all = threshold.operator == "==" and threshold.bound == Bound(1.0)
        if threshold.aggregate.kind.uses_targets and not (threshold.advisory or requires_all):
            yield InvalidInput(
                threshold.source,
                f", line {threshold.line}: {threshold.text} cannot be combined with use_metric_targets, which requires "
                "every simulation to meet its targets. Require a share of them, such as pass_rate >= 90%, or remove "
                "one of the two.",
            )


def _is_impossible(threshold: Threshold) -> bool:
    """Return whether no run can meet a bound: it is outside the aggregate's range, or not a whole number."""
    kind, bound = threshold.aggregate.kind, threshold.bound.number
    can_be = kind.least <= bound <= kind.most and (kind.unit != "simulations" or bound.is_integer())
    never = {"<": bound <= kind.least, "<=": bound < kind.least, ">": bound >= kind.most, ">=": bound > kind.most}
    return not threshold.bound.reference and (never | {"==": not can_be}).get(threshold.operator, False)


def _mode_contradictions(inputs: Inputs, file: FromFile) -> Iterator[InvalidInput]:
    takes_runs, source = inputs.mode in ("wait", "cancel"), inputs.run_id.newest
    if inputs.mode == "cancel" and inputs.only_legs is not None:
        yield InvalidInput("only_legs", "must be empty in mode cancel, which cancels all runs in run_id.")
    if inputs.mode == "history":
        if source is None or source.kind == "schedule":
            yield InvalidInput("run_id", "must be branch:<name> last <N> or tag:<tag> last <N> in mode history.")
    elif source and source.last:
        yield InvalidInput(
            "run_id", f"must name one run in mode {inputs.mode}; last {source.last} is for mode history."
        )
    elif takes_runs and not inputs.run_id and inputs.only_legs != ():
        yield InvalidInput(
            "run_id",
            f"is required in mode {inputs.mode}: set it to the output run_id of the step that launched the run. The "
            "output is empty if that step did not run.",
        )
    if source and inputs.mode == "cancel":
        yield InvalidInput("run_id", f"must be ids in mode cancel; {source} may find a run that others need.")
    if inputs.run_id and inputs.mode not in TAKING_MODES:
        yield InvalidInput(
            "run_id", f"must be empty in mode {inputs.mode}, which launches a run; mode wait waits for one."
        )
    parts = [part.inputs for part in file.parts(inputs)]
    legs = sum(math.prod(len(getattr(part, name)) for name in LAUNCH_IDS) for part in parts)
    if legs > MOST_LEGS:
        most = max(LAUNCH_IDS, key=lambda name: max(len(getattr(part, name)) for part in parts))
        yield InvalidInput(
            most, f"makes {legs:,} combinations of agents, personas and test sets; a step has at most {MOST_LEGS}."
        )


def acts_as(inputs: Inputs) -> str:
    """Return the mode whose inputs count: a plan is about a step in mode run."""
    return "run" if inputs.mode == "plan" else inputs.mode


def has_effect(declaration: Input, mode: str) -> bool:
    """Return whether an input counts in a mode, or in one with the same plan: what only mode run can do is an error."""
    modes = ("run", *SPLIT_MODES) if mode in SPLIT_MODES else ("run" if mode == "plan" else mode,)
    return not set(modes).isdisjoint(declaration.modes)


def _unused(inputs: Inputs) -> Iterator[Input]:
    for declaration in effective():
        is_set = getattr(inputs, declaration.name) != declaration.default_value
        if is_set and not has_effect(declaration, inputs.mode):
            yield declaration


def _key_elsewhere(inputs: Inputs, environ: Mapping[str, str]) -> Iterator[InvalidInput]:
    """Yield a problem for each other input that contains an API key: the step sends or shows them all."""
    key = inputs.api_key.reveal() if inputs.api_key else ""
    for declaration in declared():
        text = environ.get(f"INPUT_{declaration.name.upper()}", "") if declaration.name != "api_key" else ""
        if key and key in text:
            yield InvalidInput(declaration.name, "contains the API key, which must be set in api_key only.")
        elif KEY_PATTERN.search(text):
            yield InvalidInput(declaration.name, "contains an API key of Coval, which must be set in api_key only.")


def wanted_pages(inputs: Inputs) -> list[str]:
    """Return the inputs that request a page of the CI system."""
    pages = [page for page in ("comment", *COMMIT_PAGES) if getattr(inputs, page) not in ("", "never")]
    return pages if inputs.mode not in ("cancel", "plan", "history") else []
