"""The file that `suite_path` names: the legs of a step, each with inputs of its own. Pure.

    defaults:
      agent_id: agent00000000000000001
    legs:
      booking:
        test_set_id: passing1
        thresholds: |
          Resolved: rate(YES) >= 95%

The file is YAML, of which JSON is a part. Every value is text as written, which its input's field parses as ever: `yes`
and `0123` mean in a leg what they mean in a workflow. A leg's inputs win over the defaults, and those over the step's;
thresholds add up. What makes YAML hard to read is refused: anchors, aliases, tags, several documents.

All mistakes are found, each with its line.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import one_line, plural, quoted, shortened
from coval_gate.config.checks import acts_as, input_meant
from coval_gate.config.inputs import (
    GATE,
    LABELS,
    LAUNCH_IDS,
    MOST_EXPLAINED,
    MOST_LEGS,
    SUITE,
    WHAT,
    Input,
    Inputs,
    LegInputs,
    Problem,
    declared,
)
from coval_gate.config.parsing import KEY
from coval_gate.config.slips import explained
from coval_gate.config.thresholds import ThresholdSyntaxError, parse_thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.config.thresholds import Threshold

LARGEST: Final = 256 * 1024  # bytes
LONGEST_NAME: Final = 200  # characters of a leg's name
NAME_SHOWN: Final = 60  # characters of a name in a message
DEEPEST: Final = 100  # levels; as in other inputs
MOST_MISTAKES: Final = 50  # in one message
SURROGATE: Final = re.compile("[\ud800-\udfff]")
TAB: Final = r"'\t'"  # in PyYAML's words
MERGE: Final = "<<"  # YAML's key for an alias whose values it adds
DEFAULTS: Final = "defaults"
LEGS: Final = "legs"
OF_WHOLE_STEP: Final = (
    "suite_path",
    "run_template_id",
    "max_parallel_runs",
    "max_simulations",
    "accept",
    "on_missing_api_key",
)
LISTS: Final = ("list of ids", "list", "thresholds")  # fields whose values may be written as a list
OBJECTS: Final = "JSON object"
TAGS: Final = ("promote",)  # inputs with a tag that one run of an agent, persona and test set has
OF_BASE: Final = "base"  # the name, or the beginning of the name, of a base agent's leg


class Scalar(NamedTuple):
    """A text. `is_bare`: it has no quotes. `is_literal`: its lines are lines of the file, below the one with `|`."""

    text: str
    line: int
    is_bare: bool = False
    is_literal: bool = False


class Items(NamedTuple):
    """A list."""

    entries: tuple[Node, ...]
    line: int


class Table(NamedTuple):
    """A mapping. `source`: how it is written, if in braces."""

    pairs: tuple[tuple[Node, Node], ...]
    line: int
    source: str = ""


Node = Scalar | Items | Table | None  # None: it is missing, or was reported already


class Suite(NamedTuple):
    """The legs that have no mistake, and the mistakes."""

    legs: tuple[LegInputs, ...]
    problems: tuple[Problem, ...]


class Mistake(NamedTuple):
    """What is wrong, as a sentence about a line."""

    line: int
    what: str


class Unreadable(ValueError):
    """Nothing can be read beyond the `mistake`."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.mistake = Mistake(line, what)


class Values(NamedTuple):
    """The inputs that the defaults or a leg set, with their places. Thresholds know their own lines."""

    inputs: dict[str, Any]
    thresholds: list[Threshold]
    places: dict[str, tuple[int, str]]


def allowed_inputs() -> dict[str, Input]:
    """Return the inputs that a leg may have, by name: what to run, and the gate."""
    return {
        declaration.name: declaration
        for declaration in declared()
        if declaration.group in (WHAT, GATE) and declaration.name not in OF_WHOLE_STEP
    }


def decoded(contents: bytes) -> str:
    """Return the text of a file. Raises Unreadable."""
    try:
        return contents.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = contents[: error.start].count(b"\n") + 1
        raise Unreadable(line, "the file is not in UTF-8; save it in this encoding.") from None


def _line(text: str, part: str) -> int:
    """Return the line in which a part of a text begins."""
    return text[: text.index(part)].count("\n") + 1


def read_suite(contents: bytes, inputs: Inputs, *, is_json: bool = False) -> Suite:
    """Return the legs of a suite, whose inputs replace those of the step, and every mistake in it."""
    reader = _Reader(inputs)
    try:
        text = decoded(contents)
        key = inputs.api_key.reveal() if inputs.api_key else ""
        if own := key and key in text:
            reader.note(_line(text, key), "the file holds the API key, which must be set in api_key only.")
        if stray := [other for other in KEY.findall(text) if not own or other not in key]:
            reader.note(_line(text, stray[0]), "the file holds an API key of Coval, which must be set in api_key only.")
        if is_json:
            _check_json(text)
            text = text.replace("\t", " ")  # YAML has no tabs between values, and JSON has none in texts
        composer = _Composer(text)
        try:
            root = composer.compose()
        finally:
            reader.mistakes += composer.mistakes
        legs = reader.legs_in(root)
    except Unreadable as error:
        reader.mistakes.append(error.mistake)
        legs = []
    return Suite(tuple(legs), tuple(_problems(sorted(set(reader.mistakes)))))


def _problems(mistakes: Sequence[Mistake]) -> Iterator[Problem]:
    for mistake in mistakes[:MOST_MISTAKES]:
        yield Problem(SUITE, f", line {mistake.line}: {mistake.what}")
    if (more := len(mistakes) - MOST_MISTAKES) > 0:
        yield Problem(SUITE, f"has {plural(more, 'more mistake')}.")


def _check_json(text: str) -> None:
    """Raise Unreadable unless the text is JSON. Its numbers stay text."""
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, f"the file is not valid JSON: {error.msg} (column {error.colno}).") from None
    except RecursionError:
        raise Unreadable(1, f"the file is nested more than {DEEPEST} levels deep.") from None


class _Composer:
    """Makes nodes of YAML's events, which take bounded time and memory, unlike what aliases stand for."""

    def __init__(self, text: str) -> None:
        self.mistakes: list[Mistake] = []
        self._text = text

    def compose(self) -> Node:
        """Return the only document; None if there is none. Raises Unreadable."""
        import yaml  # few steps have a suite, and it delays the start

        self._yaml = yaml
        self._line = 1
        try:
            self._loader = yaml.BaseLoader(self._text)
            return self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = one_line(error.problem or error.context, 200)
            what += "; indent with spaces" if TAB in what else ""
            raise Unreadable(mark.line + 1 if mark else self._line, f"the file is not valid YAML: {what}.") from None
        except yaml.reader.ReaderError as error:
            line = self._text[: error.position].count("\n") + 1
            raise Unreadable(line, "the file has a character that YAML does not allow; remove it.") from None
        except Unreadable:
            raise
        except (ValueError, OverflowError):  # an escaped character or a version that is out of range
            raise Unreadable(self._line, "the file is not valid YAML near this line.") from None

    def _document(self) -> Node:
        events, loader = self._yaml.events, self._loader
        self._next()
        if loader.check_event(events.StreamEndEvent):
            return None
        self._next()
        root = self._node(0)
        self._next()
        if not loader.check_event(events.StreamEndEvent):
            self._note(self._next(), "a second document begins here; a suite is one.")
        return root

    def _next(self) -> Any:
        event: Any = self._loader.get_event()  # type: ignore[no-untyped-call]
        self._line = event.start_mark.line + 1
        return event

    def _note(self, event: Any, what: str) -> None:
        self.mistakes.append(Mistake(event.start_mark.line + 1, what))

    def _node(self, depth: int) -> Node:
        event, events = self._next(), self._yaml.events
        line = event.start_mark.line + 1
        if depth > DEEPEST:
            raise Unreadable(line, f"the file is nested more than {DEEPEST} levels deep.")
        if event.anchor is not None:
            sign = "*" if isinstance(event, events.AliasEvent) else "&"
            what = f"{sign}{one_line(event.anchor, NAME_SHOWN)} is {'an alias' if sign == '*' else 'an anchor'}"
            self._note(event, f"{what}; write the values out, or put what all legs share into {DEFAULTS}.")
        if isinstance(event, events.AliasEvent):
            return None
        if event.tag is not None:
            self._note(event, f"{one_line(event.tag, NAME_SHOWN)} is a tag; remove it, because values are text anyway.")
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event, line)
        if isinstance(event, events.SequenceStartEvent):
            return Items(tuple(self._until(events.SequenceEndEvent, depth)), line)
        nodes = list(self._until(events.MappingEndEvent, depth))
        source = self._text[event.start_mark.index : self._end] if event.flow_style else ""
        return Table(tuple(zip(nodes[::2], nodes[1::2], strict=True)), line, source)

    def _scalar(self, event: Any, line: int) -> Scalar | None:
        text = event.value
        if SURROGATE.search(text):  # JSON escapes a character beyond U+FFFF as two
            try:
                text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            except UnicodeDecodeError:
                self._note(event, "half of an escaped character is missing; write the character itself.")
                return None
        return Scalar(text, line, is_bare=event.style is None, is_literal=event.style == "|")

    def _until(self, end: Any, depth: int) -> Iterator[Node]:
        while not self._loader.check_event(end):
            yield self._node(depth + 1)
        self._end = self._next().end_mark.index


class _Reader:
    """Reads the legs out of the nodes, and notes mistakes."""

    def __init__(self, step: Inputs) -> None:
        self.mistakes: list[Mistake] = []
        self._step = step
        self._allowed = allowed_inputs()
        self._every = {declaration.name for declaration in declared()}
        self._gaps = 0  # values that were reported already
        self._shows_names = True  # the first message about a wrong name lists those that a leg may have

    def note(self, line: int, what: str) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(line, what))

    @property
    def _wrong(self) -> int:
        """How much is wrong so far."""
        return len(self.mistakes) + self._gaps

    def legs_in(self, root: Node) -> list[LegInputs]:
        """Return the legs that have no mistake, unless the defaults have one."""
        if not isinstance(root, Table):
            if root is not None or not self.mistakes:
                self.note(getattr(root, "line", 1), f"the file must be a mapping with {LEGS}, and perhaps {DEFAULTS}.")
            return []
        parts: dict[str, tuple[Scalar, Node]] = {}
        for key, node in self._pairs(root, ""):
            if key.text not in (DEFAULTS, LEGS):
                self.note(key.line, self._unknown_part(key.text))
            parts[key.text] = (key, node)
        before = self._wrong
        defaults = self._values(*parts[DEFAULTS], where=DEFAULTS) if DEFAULTS in parts else Values({}, [], {})
        are_usable = self._wrong == before
        if LEGS not in parts:
            self.note(root.line, f"{LEGS} is missing: it has the inputs of each leg below the leg's name.")
            return []
        legs = self._legs(*parts[LEGS], defaults)
        return legs if are_usable else []

    def _unknown_part(self, name: str) -> str:
        shown = shortened(one_line(name), NAME_SHOWN)
        if name in self._every:
            return f"{shown} stands beside {LEGS}; write it below {DEFAULTS}, or in a leg."
        meant = input_meant(name, [DEFAULTS, LEGS])
        question = f"; did you mean {meant}?" if meant else f"; there are {DEFAULTS} and {LEGS}."
        return f"{shown} is not a part of a suite{question}"

    def _pairs(self, table: Table, where: str) -> Iterator[tuple[Scalar, Node]]:
        """Yield the pairs of a mapping whose keys are texts, each key once."""
        lines: dict[str, int] = {}
        for key, node in table.pairs:
            if not isinstance(key, Scalar):
                if key is not None:
                    self.note(key.line, f"{where or 'the file'} has a key that is not a text.")
                continue
            name = key.text.strip()
            shown = f"{where}{'.' if where else ''}{shortened(one_line(name), NAME_SHOWN)}"
            if name in lines:
                self.note(key.line, f"{shown} stands in line {lines[name]}, too; keep one of the two.")
                continue
            lines[name] = key.line
            yield key._replace(text=name), node

    def _legs(self, key: Scalar, node: Node, defaults: Values) -> list[LegInputs]:
        if not isinstance(node, Table):
            if node is not None:
                self.note(key.line, f"{LEGS} must be a mapping from the name of each leg to its inputs.")
            return []
        if not node.pairs:
            self.note(key.line, f"{LEGS} is empty; name at least one leg.")
        legs: list[LegInputs] = []
        whole: list[tuple[LegInputs, Inputs]] = []
        names: dict[str, int] = {}
        for number, (name_node, values_node) in enumerate(self._pairs(node, LEGS), start=1):
            if number == MOST_LEGS + 1:
                self.note(name_node.line, f"{LEGS} has more than {MOST_LEGS} legs, the most that a step launches.")
                break
            before = self._wrong
            name = self._name(name_node, names)
            where = f"{LEGS}.{shortened(name, NAME_SHOWN)}"
            own = self._values(name_node, values_node, where=where)
            if self._wrong > before:
                continue
            leg, inputs = self._leg(name, name_node.line, defaults, own)
            self._check_twins(leg, inputs, whole)
            whole.append((leg, inputs))
            legs.append(leg)
        return legs

    def _name(self, key: Scalar, names: dict[str, int]) -> str:
        """Return the name of a leg, and note what is wrong with it."""
        name = " ".join(key.text.split())
        shown = quoted(name, NAME_SHOWN)
        if not name:
            self.note(key.line, f"{LEGS} has a leg with an empty name.")
        elif not key.text.isprintable():
            self.note(key.line, f"{LEGS}: the name {shown} must be one line of printable characters.")
        elif len(name) > LONGEST_NAME:
            self.note(key.line, f"{LEGS}: the name {shown} must have at most {LONGEST_NAME} characters.")
        elif name == OF_BASE or name.startswith(f"{OF_BASE} · "):
            self.note(key.line, f"{LEGS}: the name {shown} is kept for the base agent; choose another one.")
        elif name in names:
            self.note(key.line, f"{LEGS}: the name {shown} stands in line {names[name]}, too; choose another one.")
        names.setdefault(name, key.line)
        return name

    def _values(self, key: Scalar, node: Node, *, where: str) -> Values:
        """Return the inputs below a key, and note every mistake in them."""
        if not isinstance(node, Table):
            if node is None:
                self._gaps += 1
            else:
                self.note(key.line, f"{where} must be a mapping from inputs to values.")
            return Values({}, [], {})
        values = Values({}, [], {})
        for name, value in self._pairs(node, where):
            self._add(values, name, value, where)
        return values

    def _add(self, values: Values, key: Scalar, node: Node, where: str) -> None:
        """Add the value of an input, or note what is wrong with it."""
        name = key.text
        if node is None:
            self._gaps += 1
        if name not in self._allowed:
            if node is not None or name != MERGE:
                self.note(key.line, self._unknown_input(name, where))
            return
        values.places[name] = (key.line, where)
        if node is None:
            return
        declaration = self._allowed[name]
        try:
            if name == "thresholds":
                values.thresholds.extend(self._thresholds(node, f"{where}.{name}"))
                return
            value = values.inputs[name] = _parsed(declaration, node)
        except ValueError as error:
            what = str(error)
        else:
            what = self._without_effect(declaration, value)
        if what:
            self.note(key.line, f"{where}.{name}{'' if what[:1] == ',' else ' '}{what}")

    def _unknown_input(self, name: str, where: str) -> str:
        shown = f"{where}.{shortened(one_line(name), NAME_SHOWN)}"
        if name in self._every:
            what = f"{shown} is about the whole step, so a suite cannot set it; set it in the step."
        else:
            meant = input_meant(name, list(self._allowed))
            if meant:
                return f"{shown} is not an input of a leg; did you mean {meant}?"
            what = f"{shown} is not an input of a leg."
        if self._shows_names:
            self._shows_names = False
            what += f"\nA leg may have: {', '.join(self._allowed)}."
        return what

    def _without_effect(self, declaration: Input, value: Any) -> str:
        """Return why the check would be green without an input of the gate, as the end of a sentence; usually empty.

        A step that only launches leaves judging to a later one with the same file.
        """
        modes = declaration.modes
        mode = "wait" if self._step.mode == "launch" and declaration.group == GATE else acts_as(self._step)
        if declaration.group != GATE or mode in modes or value == declaration.default_value:
            return ""
        return f"has no effect in mode {self._step.mode}; use mode {' or '.join(modes)}, or remove it."

    def _thresholds(self, node: Scalar | Items | Table, where: str) -> list[Threshold]:
        """Return thresholds with their lines in the file, and note each invalid line. Raises ValueError."""
        thresholds: list[Threshold] = []
        parts = node.entries if isinstance(node, Items) else (node,)
        for part in parts:
            if part is None:
                self._gaps += 1
                continue
            if not isinstance(part, Scalar):
                self.note(part.line, f"{where} must be text, one threshold per line below `thresholds: |`.")
                continue
            text = _text(part)

            def line_of(number: int, part: Scalar = part) -> int:
                return part.line + number if part.is_literal else part.line

            try:
                parsed = parse_thresholds(text)
            except ThresholdSyntaxError as error:
                for number, wrong in enumerate(error.errors):
                    line = explained(wrong) if number < MOST_EXPLAINED else wrong
                    stop = "" if line.problem.endswith("?") else "."
                    self.note(line_of(wrong.line), f"{where}: {line.problem}{stop}\n{line.shown}")
            else:
                thresholds += [entry._replace(line=line_of(entry.line), source=SUITE) for entry in parsed]
        return thresholds

    def _leg(self, name: str, line: int, defaults: Values, own: Values) -> tuple[LegInputs, Inputs]:
        """Return a leg with the inputs that count in the step's mode, and with those that count in any."""
        given = {**defaults.inputs, **own.inputs}
        added = (*defaults.thresholds, *own.thresholds)
        whole = self._step._replace(**given, thresholds=(*self._step.thresholds, *added))
        counting = {name: value for name, value in given.items() if acts_as(self._step) in self._allowed[name].modes}
        places = {name: place for name, place in (defaults.places | own.places).items() if name in counting}
        if acts_as(self._step) in self._allowed["thresholds"].modes:
            counting["thresholds"] = whole.thresholds
        is_judged = bool(added) or any(self._allowed[name].group == GATE and name not in counting for name in given)
        later = whole._replace(mode="wait", base_agent_id="") if self._step.mode == "launch" and is_judged else None
        gates = any(self._allowed[name].group == GATE for name in given)
        return LegInputs(name, line, self._step._replace(**counting), places, later, gates), whole

    def _check_twins(self, leg: LegInputs, inputs: Inputs, others: Sequence[tuple[LegInputs, Inputs]]) -> None:
        """Note that a leg does what another one does, or that both move a tag that only one run can have."""
        where = f"{LEGS}.{shortened(leg.name, NAME_SHOWN)}"
        for other, others_inputs in others:
            same_ids = all(getattr(inputs, name) == getattr(others_inputs, name) for name in LAUNCH_IDS)
            if not same_ids:
                continue
            twin = f"{LEGS}.{shortened(other.name, NAME_SHOWN)} in line {other.line}"
            if _compared(inputs) == _compared(others_inputs):
                self.note(leg.line, f"{where} is the same as {twin}: ids, options and thresholds; remove one.")
                return
            for name in TAGS:
                value = getattr(inputs, name)
                if value and value == getattr(others_inputs, name):
                    self.note(
                        leg.line,
                        f"{where} has the same agent, persona and test set as {twin}, so {name} cannot be {value} in "
                        "both; give each its own tag.",
                    )
                    return


def _compared(inputs: Inputs) -> Inputs:
    """Return inputs without what changes nothing about a run or its verdict."""
    thresholds = tuple(threshold._replace(line=0, source="") for threshold in inputs.thresholds)
    unlabelled: dict[str, Any] = dict.fromkeys(LABELS)
    return inputs._replace(thresholds=thresholds, **unlabelled)


def _parsed(declaration: Input, node: Scalar | Items | Table) -> Any:
    """Return the value of an input. Raises ValueError with the end of a sentence about it."""
    field = declaration.field
    if isinstance(node, Table):
        if field.name != OBJECTS:
            raise ValueError("must be a value, not a mapping.")
        if not node.source:
            raise ValueError('must be JSON: in braces, with its texts in double quotes, such as {"key": "text"}.')
        return field.parse(node.source)
    if isinstance(node, Items):
        if declaration.name in LAUNCH_IDS:
            raise ValueError("must be one id; name another leg for each.")
        if field.name not in LISTS:
            raise ValueError("must be one value, not a list.")
        texts = [_text(entry) for entry in node.entries if isinstance(entry, Scalar)]
        if len(texts) < len(node.entries) - node.entries.count(None):
            raise ValueError("must be a list of texts.")
        return field.parse(json.dumps(texts))
    text = _text(node).strip()
    value = field.parse(text) if text else declaration.default_value
    if declaration.name in LAUNCH_IDS and len(value) > 1:
        raise ValueError(f"must be one id; got {len(value):,}. Name another leg for each.")
    return value


def _text(node: Scalar) -> str:
    """Return the text of a scalar. Raises ValueError if there is none."""
    if node.is_bare and not node.text:
        raise ValueError('has no value; write one, or "" for none.')
    return node.text
