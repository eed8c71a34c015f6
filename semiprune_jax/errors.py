"""What can go wrong for a person at the keyboard, and the exit code each kind ends with.

Every message says what was got, what was expected and what to do. Anything that is not one of these is a
bug of ours and ends with a traceback and exit code 1.
"""

import errno


class UserError(Exception):
    """Base of every error that is shown as one line, without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """Usage, configuration or work directory."""

    exit_code = 2


class ArgumentError(ConfigError, ValueError):
    """An argument of a public function that does not fit the others: a ValueError to those who call it."""


class DataError(UserError):
    """Images, labels, or an artifact of an earlier stage."""

    exit_code = 3


class DeviceError(UserError):
    """Devices, disk or peers."""

    exit_code = 4


class TrainingError(UserError):
    """Training collapsed or is not finite."""

    exit_code = 6


class PreemptedError(UserError):
    """Told to stop; the same command goes on."""

    exit_code = 42


def in_words(error: BaseException) -> tuple[str, int]:
    """What to say of an error, and the exit code; 1 for what no person can mend: a bug of ours."""
    if isinstance(error, ConfigError):  # its problems are told at once, a line each
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
    """With what a file may hold and a terminal would obey written out."""
    return "".join(c if c.isprintable() or c in but else repr(c)[1:-1] for c in text)
