"""Processes that start in milliseconds: from a server that has the imports done. There is one server in a process, so one list."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

PRELOAD = ["leakatk.auditing.audit", "leakatk.sampling.engines", "leakatk.unlearning.trainer", "leakatk.runs.store"]


def process(call: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """Not started yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context.Process(target=call, args=arguments)
