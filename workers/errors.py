"""Owns the workers' errors.

WorkerError
├── SettingsError     an environment variable has a bad value
└── LeaseLost         another worker has taken the job over; this one's result is dropped
"""


class WorkerError(Exception):
    """Root of what the workers raise on purpose."""


class SettingsError(WorkerError):
    """An environment variable has a bad value."""


class LeaseLost(WorkerError):
    """Another worker has taken the job over; this one's result is dropped."""
