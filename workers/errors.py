"""Owns the workers' errors.

WorkerError
└── SettingsError     an environment variable has a bad value
"""


class WorkerError(Exception):
    """Root of what the workers raise on purpose."""


class SettingsError(WorkerError):
    """An environment variable has a bad value."""
