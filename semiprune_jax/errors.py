"""What can go wrong for a person at the keyboard, and the exit code each kind ends with.

Every message says what was got, what was expected and what to do. Anything that is not one of these is a
bug of ours and ends with a traceback and exit code 1.
"""


class UserError(Exception):
    """Base of every error that is shown as one line, without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """Usage, configuration or work directory."""

    exit_code = 2


class DataError(UserError):
    """Images, labels, or an artifact of an earlier stage."""

    exit_code = 3


class DeviceError(UserError):
    """Devices, disk or peers."""

    exit_code = 4


class TrainingError(UserError):
    """Training collapsed or is not finite."""

    exit_code = 6
