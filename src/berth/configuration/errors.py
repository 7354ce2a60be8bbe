"""What is wrong with a configuration, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence


class ConfigurationError(ValueError):
    """Each problem is a sentence that begins with where it is: file, line and key, or variable."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
