"""The configuration file: inputs of the step and, under `legs`, of each leg by its name. Pure.

    agent_id: agent00000000000000001
    legs:
      booking:
        test_set_id: passing1
        thresholds: |
          Resolved: rate(YES) >= 95%

Every value is text as written, as in a workflow: `yes` is not a boolean, and `0123` keeps its zero. The
step's inputs override the file's, and a leg's own override both; thresholds add up. Every mistake is reported with its
line.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from coval_gate.base.text import Day, one_line, plural, quoted, shortened
from coval_gate.features.advice.slips import explained_lines
from coval_gate.features.known_failures.entries import KNOWN_KEY, KnownFailure, contradictions, entry_of
from coval_gate.features.legs.nodes import MAPPING, SCALAR, SEQUENCE, Mistake, Node, Unreadable, checked, composed
from coval_gate.inputs.checks import has_effect
from coval_gate.inputs.fields import LISTS
from coval_gate.inputs.inputs import (
    ALL_MODES,
    GATE,
    LABELS,
    LAUNCH_IDS,
    MOST_LEGS,
    WHAT,
    FromFile,
    Input,
    Inputs,
    InvalidInput,
    LegInputs,
    declared,
    translate,
)
from coval_gate.inputs.naming import NAME_SHOWN, TOGETHER_NAME, input_meant
from coval_gate.inputs.thresholds import Threshold, ThresholdSyntaxError, parse_thresholds

LONGEST_LEG_NAME: Final = 200  # characters of a leg's name
PATH_SHOWN: Final = 80  # characters
MOST_MISTAKES: Final = 50  # in one message
LEGS_KEY: Final = "legs"
TABLES: Final = (LEGS_KEY, KNOWN_KEY)
# A pull request can change the file, so the file must not choose where the key goes, or which run a step acts on.
REFUSED: Final = {
    **dict.fromkeys(("api_key", "github_token", "api_base_url"), "only the job's environment may set it"),
    **dict.fromkeys(("mode", "run_id", "config_path", "matrix", "only_legs"), "each step or command sets it itself"),
}
STEP_ONLY: Final = ("run_template_id", "max_parallel_runs", "max_simulations", "accept", "on_missing_api_key")
OBJECTS: Final = "JSON object"
BASE_LEG: Final = "base"  # the name, or the beginning of the name, of a base agent's leg


class FileEntries(NamedTuple):
    """The inputs of the step, or of the leg of this name, which begins in `line`: as text and parsed.

    Thresholds are separate, with their own lines.
    """

    name: str
    line: int
    texts: dict[str, str]
    inputs: dict[str, Any]
    thresholds: list[Threshold]
    places: dict[str, tuple[int, str]]


def _nothing(name: str = "", line: int = 0) -> FileEntries:
    return FileEntries(name, line, {}, {}, [], {})


class ConfigFile(NamedTuple):
    """The contents of a file: inputs of the whole step, legs without a mistake, the mistakes, and known failures."""

    path: str
    values: FileEntries
    legs: tuple[FileEntries, ...]
    problems: tuple[InvalidInput, ...]
    known: tuple[KnownFailure, ...] = ()


@cache
def inputs_of_step() -> dict[str, Input]:
    return {declaration.name: declaration for declaration in declared() if declaration.name not in REFUSED}


@cache
def inputs_of_leg() -> dict[str, Input]:
    """Return the inputs that a leg may have of its own, by name: what to run, and the gate."""
    return {
        name: declaration
        for name, declaration in inputs_of_step().items()
        if declaration.group in (WHAT, GATE) and name not in STEP_ONLY
    }


def read_file(contents: bytes, path: str, key: str = "") -> ConfigFile:
    """Return what a file sets, and every mistake in it. `key`: the API key, which no file may contain."""
    reader = _Reader(one_line(path, PATH_SHOWN))
    try:
        values, legs = reader.read(composed(checked(contents, path.lower(), key)))
    except Unreadable as error:
        values, legs = _nothing(), []
        reader.mistakes.append(error.mistake)
    problems = tuple(_problems(reader.path, sorted(set(reader.mistakes))))
    return ConfigFile(reader.path, values, tuple(legs), problems, tuple(reader.known))


def beside_file(
    environ: Mapping[str, str], file: ConfigFile, *, defaults_count: bool
) -> tuple[dict[str, str], ConfigFile]:
    """Return the environment with the file's inputs where it has none, and the file with the inputs that count.

    Inputs without an effect in the step's mode are for other steps. Unless `defaults_count`, an input that equals its
    default counts as unset, because GitHub's runner passes every default.
    """
    merged, places = dict(environ), dict[str, tuple[int, str]]()
    mode = environ.get("INPUT_MODE", "").strip().lower()
    mode = mode if mode in ALL_MODES else ALL_MODES[0]
    for name, declaration in inputs_of_step().items():
        variable = f"INPUT_{name.upper()}"
        own = environ.get(variable, "").strip()
        is_set = own and (own != declaration.default or defaults_count)
        if name in file.values.texts and not is_set and has_effect(declaration, mode):
            merged[variable], places[name] = file.values.texts[name], file.values.places[name]
    thresholds = file.values.thresholds if has_effect(inputs_of_step()["thresholds"], mode) else []
    return merged, file._replace(values=file.values._replace(thresholds=thresholds, places=places))


def with_file(inputs: Inputs, file: ConfigFile, today: Day) -> tuple[Inputs, FromFile, list[InvalidInput]]:
    """Return the step's inputs with the file's thresholds, what else the file sets, and contradictions in it."""
    inputs = inputs._replace(thresholds=(*inputs.thresholds, *file.values.thresholds))
    allowed = inputs_of_leg()
    mistakes: list[Mistake] = []
    legs: list[LegInputs] = []
    whole: list[tuple[FileEntries, Inputs]] = []  # the inputs of each earlier leg, in any mode
    for leg in file.legs:
        effective = {name: value for name, value in leg.inputs.items() if has_effect(allowed[name], inputs.mode)}
        thresholds = leg.thresholds if has_effect(allowed["thresholds"], inputs.mode) else ()
        places = {name: place for name, place in leg.places.items() if name in effective}
        given = inputs._replace(**effective, thresholds=(*inputs.thresholds, *thresholds))
        legs.append(LegInputs(leg.name, leg.line, given, file.values.places | places))
        own = inputs._replace(**leg.inputs, thresholds=(*inputs.thresholds, *leg.thresholds))
        if twin := next((other for other, before in whole if _overlap(before, own)), None):
            both = f"{_shown(leg.name)} and {_shown(twin.name)} in line {twin.line}"
            why = "launch the same run, with the same thresholds; name its ids in one."
            mistakes.append(Mistake(leg.line, f"{both} {why}"))
        whole.append((leg, own))
    from_file = FromFile(file.path, file.values.places, legs)
    parts = () if file.problems else from_file.parts(inputs)
    mistakes += [Mistake(*pair) for pair in contradictions(file.known, parts, today)]
    return inputs, from_file, list(_problems(file.path, mistakes))


def _shown(name: str, where: str = LEGS_KEY) -> str:
    return f"{where}{'.' if where else ''}{shortened(one_line(name), NAME_SHOWN)}"


def _overlap(one: Inputs, other: Inputs) -> bool:
    """Return whether both would launch the same run, with the same criteria."""
    ids = ((getattr(one, name), getattr(other, name)) for name in LAUNCH_IDS)
    return _without_ids(one) == _without_ids(other) and all(a == b or not set(a).isdisjoint(b) for a, b in ids)


def _without_ids(inputs: Inputs) -> Inputs:
    """Return the inputs without ids and labels, which change neither the run nor its verdict."""
    thresholds = tuple(threshold._replace(line=0, source="") for threshold in inputs.thresholds)
    left_out: dict[str, Any] = dict.fromkeys((*LABELS, *LAUNCH_IDS))
    return inputs._replace(thresholds=thresholds, **left_out)


def _problems(path: str, mistakes: Sequence[Mistake]) -> Iterator[InvalidInput]:
    for mistake in mistakes[:MOST_MISTAKES]:
        yield InvalidInput(path, f", line {mistake.line}: {mistake.what}")
    if (more := len(mistakes) - MOST_MISTAKES) > 0:
        yield InvalidInput(path, f"has {plural(more, 'more mistake')}.")


class _Reader:
    def __init__(self, path: str) -> None:
        self.path = path
        self.mistakes: list[Mistake] = []
        self.known: list[KnownFailure] = []

    def _note(self, line: int, what: str) -> None:
        self.mistakes.append(Mistake(line, what))

    def read(self, root: Node | None) -> tuple[FileEntries, list[FileEntries]]:
        """Return what the file sets for the step, and the legs that have no mistake, unless the step's part has one."""
        values, legs = _nothing(), list[FileEntries]()
        if root is None or root.id != MAPPING:
            line = root.start_mark.line + 1 if root else 1
            self._note(line, "the file must be a mapping from inputs to values, such as `agent_id: …`.")
            return values, legs
        pairs = list(self._pairs(root, ""))
        for line, name, node in pairs:
            if name not in TABLES:
                self._add(values, line, name, node, "")
        is_usable = not self.mistakes
        for line, name, node in pairs:
            if name == LEGS_KEY:
                legs = self._legs(line, node)
            elif name == KNOWN_KEY:
                self._add_known(line, node)
        return values, legs if is_usable else []

    def _pairs(self, table: Node, where: str) -> Iterator[tuple[int, str, Node]]:
        """Yield the line, key and value of each entry of a mapping whose keys are texts, each key once."""
        lines: dict[str, int] = {}
        for key, node in table.value:
            line = key.start_mark.line + 1
            if key.id != SCALAR:
                self._note(line, f"{where or 'the file'} has a key that is not a text.")
                continue
            name = " ".join(key.value.split())
            if name in lines:
                self._note(line, f"{_shown(name, where)} is also in line {lines[name]}; keep one of the two.")
                continue
            lines[name] = line
            yield line, name, node

    def _legs(self, line: int, node: Node) -> list[FileEntries]:
        if node.id != MAPPING:
            self._note(line, f"{LEGS_KEY} must be a mapping from the name of each leg to its inputs.")
            return []
        if not node.value:
            self._note(line, f"{LEGS_KEY} is empty; name at least one leg.")
        legs: list[FileEntries] = []
        for number, (line_of_leg, name, own) in enumerate(self._pairs(node, LEGS_KEY), start=1):
            if number > MOST_LEGS:
                self._note(line_of_leg, f"{LEGS_KEY} has more than {MOST_LEGS} legs, the most that a step launches.")
                break
            before = len(self.mistakes)
            if wrong := _wrong_name(name):
                self._note(line_of_leg, f"{LEGS_KEY}: the name {quoted(name, NAME_SHOWN)} {wrong}")
            where, values = _shown(name), _nothing(name, line_of_leg)
            if own.id == MAPPING:
                for line_of_input, input_, value in self._pairs(own, where):
                    self._add(values, line_of_input, input_, value, where)
            else:
                self._note(line_of_leg, f"{where} must be a mapping from inputs to values.")
            if len(self.mistakes) == before:
                for problem in translate(values.inputs):
                    self._note(line_of_leg, f"{where}.{problem.name} {problem.what}")
                values.thresholds.extend(values.inputs.pop("thresholds", ()))
                legs.append(values)
        return legs

    def _add_known(self, line: int, node: Node) -> None:
        entries = node.value if node.id == SEQUENCE and all(entry.id == MAPPING for entry in node.value) else None
        if entries is None or any(value.id != SCALAR for entry in entries for _, value in entry.value):
            self._note(line, f"{KNOWN_KEY} must be a list of entries, whose test_case, reason and until are texts.")
            return
        for entry in entries:
            begin = entry.start_mark.line + 1
            texts = {name: value.value.strip() for _, name, value in self._pairs(entry, KNOWN_KEY)}
            try:
                self.known.append(entry_of(texts, begin))
            except ValueError as error:
                self._note(begin, f"{KNOWN_KEY}: the entry {error}")

    def _add(self, values: FileEntries, line: int, name: str, node: Node, where: str) -> None:
        declaration = (inputs_of_leg() if where else inputs_of_step()).get(name)
        shown = _shown(name, where)
        if declaration is None:
            self._note(line, f"{shown} {self._why_refused(name, where, node)}")
            return
        values.places[name] = (line, where)
        try:
            if name == "thresholds":
                values.thresholds.extend(self._thresholds(node, shown))
                return
            text = values.texts[name] = _text_of(declaration, node)
            values.inputs[name] = declaration.field.parse(text) if text else declaration.default_value
        except ValueError as error:
            values.texts.pop(name, None)
            self._note(line, f"{shown}{'' if str(error)[:1] == ',' else ' '}{error}")

    def _why_refused(self, name: str, where: str, node: Node) -> str:
        """Return why a name is not an input, or is not allowed here, as the end of a sentence."""
        if name in REFUSED:
            return f"cannot be set in a file: {REFUSED[name]}."
        if name == KNOWN_KEY:
            return "belongs at the top of the file, where the key leg of an entry names a leg."
        if name in inputs_of_step():
            return "is about the whole step; write it at the top of the file, or in the step."
        if meant := input_meant(name, [*inputs_of_leg()] if where else [*inputs_of_step(), *TABLES]):
            return f"is not an input; did you mean {meant}?"
        if node.id == MAPPING and not where:
            return f"is not an input; write a leg below {LEGS_KEY}."
        return "is not an input."

    def _thresholds(self, node: Node, where: str) -> list[Threshold]:
        """Return thresholds with their lines in the file, and note each invalid line. Raises ValueError."""
        thresholds: list[Threshold] = []
        for part in node.value if node.id == SEQUENCE else [node]:
            begin = part.start_mark.line + 1
            if part.id != SCALAR:
                self._note(begin, f"{where} must be text, one threshold per line below `thresholds: |`.")
                continue
            text = _text(part)
            # The lines of a literal text are lines of the file, below the one with `|`.
            rising = part.style == "|"
            try:
                parsed = parse_thresholds(text)
            except ThresholdSyntaxError as error:
                for wrong in explained_lines(error):
                    self._note(begin + rising * wrong.line, f"{where}: {wrong.problem}.\n{wrong.shown}")
            else:
                thresholds += [entry._replace(line=begin + rising * entry.line, source=self.path) for entry in parsed]
        return thresholds


def _wrong_name(name: str) -> str:
    """Return what is wrong with the name of a leg, as the end of a sentence; empty if nothing is."""
    if not (name and name.isprintable()):
        return "must be a text of printable characters."
    if len(name) > LONGEST_LEG_NAME:
        return f"must have at most {LONGEST_LEG_NAME} characters."
    is_base = name == BASE_LEG or name.startswith(f"{BASE_LEG} · ")
    kept_for = "the base agent" if is_base else "the comparison of all legs" if name.endswith(TOGETHER_NAME) else ""
    return f"is reserved for {kept_for}; choose another one." if kept_for else ""


def _text_of(declaration: Input, node: Node) -> str:
    """Return the text that an input's field parses. Raises ValueError with the end of a sentence about it."""
    kind = declaration.field.name
    if node.id == MAPPING:
        if kind != OBJECTS:
            raise ValueError("must be a value, not a mapping.")
        if not node.flow_style:
            raise ValueError('must be JSON: in braces, with its texts in double quotes, such as {"key": "text"}.')
        return str(node.start_mark.buffer)[node.start_mark.pointer : node.end_mark.pointer]
    if node.id == SEQUENCE:
        if kind not in LISTS:
            raise ValueError("must be one value, not a list.")
        if not all(entry.id == SCALAR for entry in node.value):
            raise ValueError("must be a list of texts.")
        return json.dumps(list(map(_text, node.value)))
    return _text(node).strip()


def _text(node: Any) -> str:
    """Return the text of a scalar. Raises ValueError if it has no value."""
    if node.style is None and not node.value:
        raise ValueError('has no value; write one, or "" for none.')
    return str(node.value)
