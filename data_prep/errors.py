"""The error of jobs over many files."""


class PrepError(ValueError):
    """The job as a whole cannot start or finish: one line that says what is wrong and what to do."""
