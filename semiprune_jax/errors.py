"""Errors that a user can mend, and the exit code of each kind.

Every message names the value that the program got, the values that it expects, and the remedy. Any other error is a bug
of ours, and ends with a traceback and exit code 1.
"""

import errno


class UserError(Exception):
    """Base of the errors that are shown as one line, without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """The usage, the configuration or the work directory is wrong."""

    exit_code = 2


class ArgumentError(ConfigError, ValueError):
    """An argument of a public function does not fit the others; callers may catch it as a ValueError."""


class DataError(UserError):
    """Images, labels, or a file of an earlier stage are unusable."""

    exit_code = 3


class DeviceError(UserError):
    """A device, a disk or another process failed."""

    exit_code = 4


class TrainingError(UserError):
    """A training collapsed or is not finite."""

    exit_code = 6


class PreemptedError(UserError):
    """The run was told to stop; the same command goes on."""

    exit_code = 42


def in_words(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of an error; the code is 1 for a bug of ours."""
    if isinstance(error, ConfigError):  # shows all problems at once, one line each
        return _printable(str(error), but="\n"), error.exit_code
    if isinstance(error, UserError):
        return _printable(str(error)), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on from the last checkpoint", 130
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        return f"{error}; make room or mend the disk, then run the same command again", DeviceError.exit_code
    if "RESOURCE_EXHAUSTED" in str(error):
        first = str(error).splitlines()[0]
        return f"device memory: {first}; lower the batch size or data.image_size", DeviceError.exit_code
    return f"{type(error).__name__}: {error}", 1


def _printable(text: str, but: str = "") -> str:
    """The text with the control characters escaped, which a file may hold and a terminal would obey."""
    return "".join(c if c.isprintable() or c in but else repr(c)[1:-1] for c in text)
