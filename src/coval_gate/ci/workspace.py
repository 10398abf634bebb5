"""Files in the job's workspace, and nowhere else: neither `..` nor a symbolic link leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from coval_gate.errors import RunnerError
from coval_gate.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# One component after the other is opened below the one before it, so that nothing can change between check and use.
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Workspace:
    """The directory that GITHUB_WORKSPACE names, or the current one where the runner names none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._root = environ.get("GITHUB_WORKSPACE") or "."

    def place(self, path: str) -> str:
        """`path` relative to the workspace; makes its parents, and sees that it can be written.

        Raises ValueError with the end of a sentence that begins with the input's name.
        """
        parts = self._parts(path)
        shown = quoted("/".join(parts))
        try:
            with self._opened(parts, FILE) as (_, is_new):
                pass
            if is_new:
                self._remove(parts)
        except OSError as error:
            if error.errno == errno.EINVAL:
                why = "which is there and is no file"
            elif error.errno in (errno.ELOOP, errno.ENOTDIR):
                why = "on whose way is a symbolic link or a file, and only directories may be"
            else:
                why = f"which cannot be written: {error.strerror}"
            raise ValueError(f"is {shown}, {why}.") from None
        return "/".join(parts)

    def write(self, path: str, text: str) -> None:
        """Write a file whose `path` is what `place` returned. Raises RunnerError."""
        try:
            with self._opened(path.split("/"), FILE | os.O_TRUNC) as (file, _), os.fdopen(os.dup(file), "wb") as stream:
                stream.write(text.encode("utf-8", "replace"))
        except OSError as error:
            raise RunnerError(
                "File not written",
                f"The file {path} cannot be written: {error.strerror}.",
                advice="Check the runner's disk, and what other steps do to that file.",
            ) from None

    def _parts(self, path: str) -> list[str]:
        relative = PurePath(path)
        if relative.is_absolute():
            with suppress(ValueError):
                relative = relative.relative_to(os.path.abspath(self._root))  # noqa: PTH100 - links are not followed
        parts = list(relative.parts)
        if relative.is_absolute() or ".." in parts or not parts or path.endswith("/"):
            raise ValueError(f"is {quoted(path)}; it must name a file within the workspace, such as reports/junit.xml.")
        return parts

    @contextmanager
    def _opened(self, parts: list[str], flags: int) -> Iterator[tuple[int, bool]]:
        """The file as a descriptor, and whether it is new. Raises OSError."""
        with self._directory(parts[:-1]) as directory:
            try:
                os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
                is_new = False
            except FileNotFoundError:
                is_new = True
            file = os.open(parts[-1], flags, 0o644, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "It is there and is no file")
            yield file, is_new
        finally:
            os.close(file)

    @contextmanager
    def _directory(self, parts: list[str]) -> Iterator[int]:
        """A directory below the workspace as a descriptor; made where it is not there. Raises OSError."""
        directory = os.open(self._root, DIRECTORY & ~os.O_NOFOLLOW)  # the runner may have its workspace behind a link
        try:
            for part in parts:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=directory)
                inner = os.open(part, DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = inner
            yield directory
        finally:
            os.close(directory)

    def _remove(self, parts: list[str]) -> None:
        with suppress(OSError), self._directory(parts[:-1]) as directory:
            os.unlink(parts[-1], dir_fd=directory)
