"""Reads and writes files in the job's workspace only. Neither `..` nor a symbolic link can lead out of it."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import BinaryIO, Final

from coval_gate.base import titles
from coval_gate.base.errors import RunnerError
from coval_gate.base.text import quoted
from coval_gate.inputs.inputs import FILE_NAME

# Open each path component relative to its parent: no path can change between check and use.
if sys.platform != "win32":  # where the command line shows its help, and does nothing else
    import fcntl

    DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    GIT: Final = ".git"
    FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Lock:
    """The lock ends with this object, or with the process, however that ends."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __del__(self) -> None:
        os.close(self._file)


class Workspace:
    """The directory `root`; if empty, the current directory."""

    def __init__(self, root: str = "") -> None:
        self._root = root or "."

    def prepare(self, path: str, example: str = "") -> str:
        """Return `path` relative to the workspace. Create its parent directories, and check that it is writable.

        Raises ValueError with the end of a sentence about the input, with an `example`.
        """
        parts = self._parts_to_write(path, example)
        place = "/".join(parts)
        is_new = not self.exists(place)
        try:
            with self._opened(parts, FILE):
                pass
        except OSError as error:
            raise ValueError(_problem(parts, error, "writable")) from None
        if is_new:
            self.remove(place)
        return place

    def read(self, path: str, most: int) -> tuple[str, bytes]:
        """Return `path` relative to the workspace, and the contents. Raises ValueError as `prepare` does."""
        parts = self._parts(path, FILE_NAME)
        place = "/".join(parts)
        try:
            with self._opened(parts, READING) as stream:
                contents = stream.read(most + 1)
        except FileNotFoundError:
            advice = "Check the path, and that an earlier step checks out the repository."
            raise ValueError(f"must be an existing file in the workspace; got {quoted(place)}. {advice}") from None
        except OSError as error:
            raise ValueError(_problem(parts, error, "readable")) from None
        if len(contents) > most:
            raise ValueError(f"must be a file of at most {most // 1024:,} KB; got a larger one.")
        return place, contents

    def write(self, path: str, text: str) -> None:
        """`prepare` must have returned the `path`. Raises RunnerError."""
        try:
            with self._opened(path.split("/"), FILE | os.O_TRUNC) as stream:
                stream.write(text.encode("utf-8", "replace"))
        except OSError as error:
            raise _not_written(path, error) from None

    def replace(self, path: str, text: str) -> None:
        """Write a file that is whole at any time. Otherwise as `write`."""
        *parents, name = path.split("/")
        self.write(f"{path}.new", text)
        try:
            with self._directory(parents) as directory:
                os.replace(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            raise _not_written(path, error) from None

    def locate(self, path: str) -> str:
        return os.path.abspath(os.path.join(self._root, path))  # noqa: PTH100, PTH118 - follows no links

    def exists(self, path: str) -> bool:
        """A directory or a link counts, too."""
        parts = self._parts(path)
        try:
            with self._directory(parts[:-1], create=False) as directory:
                os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        return True

    def create(self, path: str, text: str) -> bool:
        """Return False if something is there. Create parent directories. Raises ValueError as `prepare` does."""
        parts = self._parts_to_write(path)
        try:
            with self._opened(parts, FILE | os.O_EXCL) as stream:
                stream.write(text.encode("utf-8", "replace"))
        except FileExistsError:
            return False
        except OSError as error:
            raise ValueError(_problem(parts, error, "writable")) from None
        return True

    def files(self, directory: str) -> list[str]:
        """Empty if the directory cannot be read."""
        try:
            with self._directory(directory.split("/"), create=False) as opened:
                return sorted(os.listdir(opened))  # noqa: PTH208 - of an open directory
        except OSError:
            return []

    def lock(self, path: str, *, create: bool = False) -> Lock | None:
        """None if another process has the lock. Raises RunnerError.

        A new file waits for its lock. A file system without locks locks nothing.
        """
        parts = path.split("/")
        flags, how = (FILE, fcntl.LOCK_EX) if create else (FILE & ~os.O_CREAT, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            with self._directory(parts[:-1], create=create) as directory:
                file = os.open(parts[-1], flags, 0o644, dir_fd=directory)
        except OSError as error:
            raise _not_written(path, error) from None
        lock = Lock(file)
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            return None
        except OSError:
            pass
        return lock

    def remove(self, path: str, *beside: str) -> None:
        """If that fails, `write` replaces the file. With the files `beside` it, an empty directory goes, too."""
        for file in (path, *beside):
            with suppress(OSError):
                parts = file.split("/")
                with self._directory(parts[:-1], create=False) as directory:
                    os.unlink(parts[-1], dir_fd=directory)
        if beside:
            with suppress(OSError):
                *parents, name = path.split("/")[:-1]
                with self._directory(parents, create=False) as parent:
                    os.rmdir(name, dir_fd=parent)

    def _parts_to_write(self, path: str, example: str = "") -> list[str]:
        parts = self._parts(path, example)
        if any(part.lower() == GIT for part in parts):
            raise ValueError(
                f"must not be a file of git's, such as a hook, which git runs; got {quoted('/'.join(parts))}."
            )
        return parts

    def _parts(self, path: str, example: str = "") -> list[str]:
        relative = PurePath(path)
        if relative.is_absolute():
            with suppress(ValueError):
                relative = relative.relative_to(os.path.abspath(self._root))  # noqa: PTH100 - follows no links
        parts = list(relative.parts)
        if relative.is_absolute() or ".." in parts or not parts or path.endswith("/"):
            such = f", such as {example}" if example else ""
            raise ValueError(f"must be a file in the workspace{such}; got {quoted(path)}.")
        return parts

    @contextmanager
    def _opened(self, parts: list[str], flags: int) -> Iterator[BinaryIO]:
        """Raises OSError, also for anything but a regular file."""
        writes = flags != READING
        with self._directory(parts[:-1], create=writes) as directory:
            file = os.open(parts[-1], flags, 0o644, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "It is not a regular file")
            with os.fdopen(file, "wb" if writes else "rb", closefd=False) as stream:
                yield stream
        finally:
            os.close(file)

    @contextmanager
    def _directory(self, parts: list[str], *, create: bool = True) -> Iterator[int]:
        directory = os.open(self._root, DIRECTORY & ~os.O_NOFOLLOW)  # the workspace itself may be a link
        try:
            for part in parts:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=directory)
                inner = os.open(part, DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = inner
            yield directory
        finally:
            os.close(directory)


def _not_written(path: str, error: OSError) -> RunnerError:
    return RunnerError(
        titles.FILE_NOT_WRITTEN,
        f"The file {path} cannot be written: {error.strerror}.",
        advice="Check the runner's disk, and whether another step changes that file.",
    )


def _problem(parts: list[str], error: OSError, needed: str) -> str:
    """Return the end of a sentence. `needed` is "writable" or "readable"."""
    cause = ""
    if error.errno in (errno.EINVAL, errno.EISDIR):
        problem = "must be a regular file"
    elif error.errno in (errno.ELOOP, errno.ENOTDIR):
        problem = "must not lead through a symbolic link or a file"
    else:
        problem, cause = f"must be {needed}", f" ({error.strerror})"
    return f"{problem}; got {quoted('/'.join(parts))}{cause}."
