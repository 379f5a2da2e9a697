"""The conformance kit: does a task or a model keep the contract?

In a plugin's own pytest::

    from registry.testing import check_model, check_task

    def test_mood():
        check_task(mood)

`scripts/plugins.py check NAME` runs the same checks and lists them one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from registry.models.base import ModelSpec
from registry.tasks.base import Task
from registry.testing.results import Result, Skipped
from registry.testing.results import run as _run

__all__ = ["Result", "Skipped", "check_model", "check_task", "model_results", "task_results"]


def check_task(task: Task, *, model: str = "tiny") -> None:
    """Put a task through every check of the contract.

    Args:
        model: the registered model that learns the task's sample.

    Raises:
        AssertionError: names every check that failed, and why.
    """
    _demand(task_results(task, model=model))


def check_model(spec: ModelSpec, *, path: str = "", processes: bool = True) -> None:
    """Put a model through every check of the contract, on each head that it claims.

    Args:
        path: a Hub id, directory or architecture to take the configuration from; default: the spec's checkpoint.
        processes: also train it in two processes (some seconds).

    Raises:
        AssertionError: names every check that failed, and why.
    """
    _demand(model_results(spec, path=path, processes=processes))


def task_results(task: Task, *, model: str = "tiny") -> Iterable[Result]:
    """The result of each check, as it is made."""
    from registry.testing.task_checks import CHECKS, subject

    return _run(CHECKS, lambda: subject(task, model))


def model_results(spec: ModelSpec, *, path: str = "", processes: bool = True) -> Iterable[Result]:
    """The result of each check, as it is made."""
    from registry.testing.model_checks import ALONE, CHECKS, in_two_processes, subject

    yield from _run(ALONE, lambda: spec)
    for kind in spec.heads:
        for result in _run(CHECKS, partial(subject, spec, kind, path), suffix=f" [{kind}]"):
            yield result
            if result.unavailable:
                return
    if processes:
        yield from _run([in_two_processes], lambda: (spec, path))


def _demand(results: Iterable[Result]) -> None:
    failed = [f"{result.check}: {result.problem}" for result in results if result.problem]
    if failed:
        raise AssertionError("the contract is not kept:\n" + "\n".join(f"- {line}" for line in failed))
