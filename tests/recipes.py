"""The workflows that the docs offer: files of examples/, and recipes, whose lines change one of these files.

recipes.py DIRECTORY    write what the recipes make, for scripts/check
"""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLES: Final = ROOT / "examples"
PAGES: Final = ("recipes", "agents")


class Recipe(NamedTuple):
    """A section of a page with lines to copy. `base`: the example that they change, or empty; `blocks`: its YAML."""

    base: str
    blocks: list[str]
    script: str


def read_recipes() -> Iterator[tuple[str, Recipe]]:
    """Yield each recipe with its name, which is its heading's anchor."""
    for page in PAGES:
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        for section in text.split("\n## ")[1:]:
            heading, _, body = section.partition("\n")
            before, *_ = body.partition("\n```")
            base = re.search(r"\(\.\./examples/([\w-]+)\.yml\)", before)
            blocks = [block for block in re.findall(r"```yaml\n(.*?)```", body, re.DOTALL) if "jobs:\n" in block]
            script = re.search(r"```sh\n(#!.*?)```", body, re.DOTALL)
            if blocks or script:
                recipe = Recipe(base[1] if base else "", blocks, script[1] if script else "")
                yield heading.lower().replace(" ", "-"), recipe


RECIPES: Final = dict(read_recipes())
WORKFLOWS: Final = [name for name, recipe in RECIPES.items() if recipe.blocks]


def workflow_text(name: str) -> str:
    """Return the file of examples/, or what a reader gets who adds a recipe's lines to the file that it changes."""
    if name not in RECIPES:
        return (EXAMPLES / f"{name}.yml").read_text(encoding="utf-8")
    recipe = RECIPES[name]
    if not recipe.base:
        return recipe.blocks[0]
    yaml = YAML()
    yaml.width = 1000
    whole, lines = yaml.load(workflow_text(recipe.base)), yaml.load(recipe.blocks[0])
    jobs = lines.pop("jobs")
    whole.update(lines)
    _merge(whole["jobs"], jobs)
    yaml.dump(whole, text := io.StringIO())
    return text.getvalue()


def workflow_of(name: str) -> dict[str, Any]:
    """Return the same as data."""
    return dict(YAML(typ="safe").load(workflow_text(name)))


def _merge(whole: dict[str, Any], lines: dict[str, Any]) -> None:
    for key, value in lines.items():
        if key == "steps" and key in whole:
            _merge_steps(whole[key], value)
        elif isinstance(value, dict) and isinstance(whole.get(key), dict):
            _merge(whole[key], value)
        else:
            whole[key] = value


def _merge_steps(whole: list[dict[str, Any]], lines: list[dict[str, Any]]) -> None:
    """A step changes the one of its name. Others go before the next one that does so, or to the end."""
    place = len(whole)
    for step in reversed(lines):
        names = [one["name"] for one in whole]
        if step["name"] in names:
            place = names.index(step["name"])
            _merge(whole[place], step)
        else:
            whole.insert(place, step)


if __name__ == "__main__":
    for name, recipe in RECIPES.items():
        suffix, text = ("sh", recipe.script) if recipe.script else ("yml", workflow_text(name))
        (Path(sys.argv[1]) / f"{name}.{suffix}").write_text(text, encoding="utf-8")
