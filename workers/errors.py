"""Owns the workers' errors.

WorkerError
├── SettingsError     an environment variable has a bad value
├── AddressRefused    a URL that a caller named and that must not be asked
└── FetchFailed       a URL that a caller named and that did not answer as it should
"""


class WorkerError(Exception):
    """Root of what the workers raise on purpose."""


class SettingsError(WorkerError):
    """An environment variable has a bad value."""


class AddressRefused(WorkerError):
    """A URL that a caller named and that must not be asked."""


class FetchFailed(WorkerError):
    """A URL that a caller named and that did not answer as it should."""
