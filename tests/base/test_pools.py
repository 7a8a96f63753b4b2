"""What is said of a process that broke its pool."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from gpt_research.base.pools import said_end


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ([-signal.SIGKILL, -signal.SIGTERM], "was killed, as the system does where memory runs out"),
        ([0, -signal.SIGTERM, -signal.SIGSEGV], "was ended by SIGSEGV"),
        ([-signal.SIGTERM, -signal.SIGTERM], "was ended by SIGTERM"),
        ([None, 3, -signal.SIGTERM], "ended with status 3"),
        ([255], "was lost, because the process that starts others ended"),
        ([0], "ended with status 0"),
        ([None], "ended before its time"),
    ],
)
def test_the_process_that_ended_first_is_named_and_not_those_that_python_ended(codes: list[Any], said: str) -> None:
    assert said_end(SimpleNamespace(exitcode=code) for code in codes) == said  # type: ignore[misc]
