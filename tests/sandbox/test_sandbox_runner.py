"""The local runner parses files and workflow commands as GitHub's runner does."""

import pytest

from coval_sandbox.runner import Command, read_command, read_entries, read_log, shown_lines


def test_read_entries_with_one_or_several_lines() -> None:
    text = "one=1\n\nmany<<END\nfirst\n\nEN\nEND\nodd=a<<b\nempty=\n"
    assert read_entries(text) == {"one": "1", "many": "first\n\nEN", "odd": "a<<b", "empty": ""}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("neither", "Invalid format: 'neither'"),
        ("=value", "Invalid format: '=value'"),
        ("<<END\nvalue\nEND", "Invalid format: '<<END'"),
        ("name<<END\nvalue\n", "Matching delimiter not found: 'END'"),
    ],
)
def test_read_malformed_entries(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        read_entries(text)


def test_read_commands_of_both_syntaxes() -> None:
    modern = read_command("  ::error title=a%2Cb,file=c%3Ad::25%25 off%0Anow")
    assert modern == Command("error", {"title": "a,b", "file": "c:d"}, "25% off\nnow")
    assert read_command("said ##[warning file=x;line=3]careful") == Command(
        "warning", {"file": "x", "line": "3"}, "careful"
    )


OUTPUT = """\
::add-mask::secret-key
Launched with secret-key
::group::Waiting
::stop-commands::0123456789abcdef
  ::error::said the agent
::0123456789abcdef::
::endgroup::
::error title=Gate failed::Too slow.%0ASee the summary.
::set-output name=a::b
"""


def test_page_shows_lines_that_stop_and_resume_commands() -> None:
    assert list(shown_lines(OUTPUT.splitlines())) == [
        ("", "Launched with ***"),
        ("group", "Waiting"),
        ("", "::stop-commands::***"),
        ("", "  ::error::said the agent"),
        ("", "::***::"),
        ("error", "Too slow."),
        ("", "See the summary."),
    ]
    names = [command.name for command in read_log(OUTPUT)]
    assert names == ["add-mask", "group", "stop-commands", "endgroup", "error", "set-output"]
