"""The command `gh api`, for scripts of workflows that run without a runner: it calls GH_URL, and needs jq.

tests/e2e runs the same scripts with GitHub's own command.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError


def fields_of(raw: list[str], typed: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for entry in [*raw, *typed]:
        name, _, value = entry.partition("=")
        text = Path(value[1:]).read_text(encoding="utf-8") if entry in typed and value[:1] == "@" else value
        if name.endswith("[]"):
            fields.setdefault(name.removesuffix("[]"), []).append(text)
        else:
            fields[name] = text
    return fields


def main() -> None:
    parser = argparse.ArgumentParser(prog="gh api")
    parser.add_argument("command", choices=["api"])
    parser.add_argument("path")
    parser.add_argument("--method")
    parser.add_argument("--jq", default="")
    parser.add_argument("-f", action="append", default=[], dest="raw")
    parser.add_argument("-F", action="append", default=[], dest="typed")
    for name in ("--paginate", "--silent"):
        parser.add_argument(name, action="store_true")
    given = parser.parse_args()
    fields = fields_of(given.raw, given.typed)
    method, url = given.method or ("POST" if fields else "GET"), f"{os.environ['GH_URL']}/{given.path}"
    while url:
        request = urllib.request.Request(url, method=method, data=json.dumps(fields).encode() if fields else None)
        request.add_header("authorization", f"token {os.environ['GH_TOKEN']}")
        try:
            with urllib.request.urlopen(request) as response:
                body, link = response.read().decode(), response.headers.get("link", "")
        except HTTPError as error:
            sys.exit(f"gh: {error}")
        if not given.silent:
            jq = ["jq", "--raw-output", given.jq or "."]
            sys.stdout.write(subprocess.run(jq, input=body, text=True, check=True, stdout=subprocess.PIPE).stdout)
        further = re.search(r'<([^>]+)>; rel="next"', link) if given.paginate else None
        url = further[1] if further else ""


if __name__ == "__main__":
    main()
