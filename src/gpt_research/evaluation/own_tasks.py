"""Tasks of a user's own, from a YAML file: `--tasks mine.yaml`.

    quiz:
      form: choice
      file: quiz.jsonl
      prompt: "Question: {{question}}\\nAnswer:"
      choices: options
      answer: answer

A task names its form, its file of JSON lines (its path begins at the YAML file), and how a row
becomes an item. `prompt` and other texts are templates of Jinja, as in lm-eval's task files, and
see the fields of the row. `choices` is the name of a field that holds a list, or a list of
templates. `answer` is an expression that gives the number, the letter or the text of the choice.
Templates run in Jinja's sandbox.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from gpt_research.base.errors import UserError, require
from gpt_research.base.settings import from_dict
from gpt_research.evaluation.benchmark_files import BenchmarkFiles, Source, read_file
from gpt_research.evaluation.forms import (
    MATCHES,
    Completion,
    Options,
    Pair,
    Prompt,
    checked_question,
    drawn,
    measure_generation,
    spaced,
    task_of_form,
)
from gpt_research.evaluation.task import Task

FormName = Literal["choice", "schema", "pairs", "cloze", "answer", "generate"]
NEEDS: dict[str, tuple[str, ...]] = {
    "choice": ("prompt", "choices", "answer"),
    "schema": ("contexts", "continuation", "answer"),
    "pairs": ("good", "bad"),
    "cloze": ("prompt", "continuation"),
    "answer": ("prompt", "continuation"),
    "generate": ("prompt", "answers"),
}
"""The settings that each form needs."""


@dataclass(frozen=True)
class OwnTask:
    """The settings of one task in the YAML file."""

    form: str
    file: str
    """JSON lines; the path begins at the folder of the YAML file."""
    prompt: str = ""
    """Template of the text before the answer."""
    choices: str | list[str] | None = None
    """choice: the name of a field that holds a list of texts, or a list of templates."""
    contexts: str | list[str] | None = None
    """schema: the same for the contexts."""
    continuation: str = ""
    """schema, cloze and answer: template of the true continuation."""
    answer: str | int = ""
    """choice and schema: expression that gives the number (from 0), letter or text of the true
    one."""
    answers: str | list[str] | None = None
    """generate: the name of a field with one text or a list of them, or a list of templates."""
    good: str = ""
    """pairs: template of the better sentence."""
    bad: str = ""
    """pairs: template of the worse sentence."""
    group: str = ""
    """pairs: template of what the pair is about; results tell the accuracy of each."""
    shots: int = 0
    """Solved examples before each item, drawn from the other rows of the same file."""
    shots_file: str = ""
    """JSON lines to draw the solved examples from."""
    seed: int = 1234
    """Seed by which the examples are drawn."""
    separator: str = "\n\n"
    """What stands between solved examples."""
    match: str = "normalised"
    """generate: how an answer is compared."""
    max_new_tokens: int = 32
    """generate: longest answer in tokens."""
    stop: tuple[str, ...] | list[str] = ("\n",)
    """generate: texts that end an answer."""

    def __post_init__(self) -> None:
        forms = get_args(FormName)
        require(self.form in forms, "form", self.form, f"one of {', '.join(forms)}")
        for name in NEEDS[self.form]:
            value = getattr(self, name)
            require(value not in (None, "", []), name, value, f"set for the form {self.form}")
        require(self.shots >= 0, "shots", self.shots, "0 or more")
        is_few_shot = self.shots == 0 or self.form in ("choice", "cloze", "answer", "generate")
        require(is_few_shot, "shots", self.shots, f"0, because {self.form} has no prompt")
        require(self.match in MATCHES, "match", self.match, f"one of {', '.join(MATCHES)}")
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")


def read_own_tasks(path: Path) -> dict[str, Task]:
    """Return the tasks of a YAML file, by name.

    Raises:
        UserError: the file is missing or not YAML, or a setting of a task is wrong.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file of tasks {path}.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not found or not all(isinstance(task, dict) for task in found.values()):
        raise UserError(
            f"{path} must hold tasks by name, such as quiz: with form, file and prompt indented below it. "
            "docs/evaluation.md shows one."
        )
    return {str(name): _task(path, str(name), settings) for name, settings in found.items()}


def _task(path: Path, name: str, settings: Mapping[str, Any]) -> Task:
    if any(mark in name for mark in "/:,") or name.endswith((".yaml", ".yml")):
        raise UserError(f'{path}: a task cannot be called "{name}". Use letters, digits and _.')
    where = f"{path}, task {name}"
    for field in ("form", "file"):
        if field not in settings:
            raise UserError(f"{where}: {field} must be set.")
    own = from_dict(OwnTask, {str(field): value for field, value in settings.items()}, where)
    more: dict[str, Any] = {}
    if own.form == "generate":
        more["measure"] = partial(
            measure_generation, match=own.match, max_new_tokens=own.max_new_tokens, stop=tuple(own.stop)
        )
    file = path.parent / own.file
    return task_of_form(
        own.form,
        files=BenchmarkFiles(f"the task {name} of {path.name}", (file.name,)),
        path=file,
        read=_Reader(own, path, name).items,
        variant=path.name,
        shots=own.shots,
        **more,
    )


@dataclass(frozen=True)
class _Reader:
    """Turns rows into items by the templates of a task."""

    own: OwnTask
    path: Path
    name: str

    @cached_property
    def _jinja(self) -> Any:
        # Only a file of tasks needs it, and loading it takes time.
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        return SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)

    # To compile a template takes 40 times as long as to fill it in, so each is compiled once.
    @cached_property
    def _templates(self) -> Callable[[str], Any]:
        return cache(self._jinja.from_string)

    @cached_property
    def _expressions(self) -> Callable[[str], Any]:
        return cache(partial(self._jinja.compile_expression, undefined_to_none=False))

    def items(self, source: Source) -> list[Any]:
        """Return the items of all rows."""
        if not source.rows:
            raise UserError(f"{source.where} is empty, so the task {self.name} has no items.")
        own = self.own
        pool = read_file(self.path.parent / own.shots_file).rows if own.shots_file else source.rows
        for where, all_rows in ((source.where, source.rows), (own.shots_file, pool)):
            if not all(isinstance(row, dict) for row in all_rows):
                raise UserError(f"{where} must hold JSON objects, a line each, and have a name that ends in .jsonl.")
        found = []
        for number, row in enumerate(source.rows):
            others: Sequence[int] = ()
            if own.shots:
                own_row = None if own.shots_file else number
                rows = len(pool) - (own_row is not None)
                if rows < own.shots:
                    raise UserError(
                        f"{self.path}, task {self.name}: shots is {own.shots}, but there are only {rows} rows to draw "
                        "them from."
                    )
                others = drawn(own.seed + number, len(pool), own.shots, own_row)
            examples = "".join(
                self._solved(f"{source.where}, row {other + 1}", pool[other]) + own.separator for other in others
            )
            found.append(self._item(f"{source.where}, row {number + 1}", row, examples))
        return found

    def _item(self, where: str, row: Mapping[str, Any], examples: str) -> Any:
        own = self.own
        if own.form == "pairs":
            good, bad = (
                self._not_blank(where, self._text(where, getattr(own, name), row, name), name)
                for name in ("good", "bad")
            )
            return Pair(good, bad, self._text(where, own.group, row, "group"))
        if own.form == "schema":
            contexts = self._list(where, own.contexts, row, "contexts")
            continuation = self._text(where, own.continuation, row, "continuation")
            label = checked_question(where, "", contexts, self._label(where, row, contexts)).label
            return Options(tuple(contexts), tuple(spaced(context, continuation) for context in contexts), label)
        prompt = examples + self._text(where, own.prompt, row, "prompt")
        if own.form == "choice":
            choices = self._list(where, own.choices, row, "choices")
            for number, choice in enumerate(choices):
                self._not_blank(where, choice, f"choice {number}")
            return checked_question(where, prompt, choices, self._label(where, row, choices))
        if own.form == "generate":
            answers = self._list(where, own.answers, row, "answers")
            return Prompt(prompt, tuple(self._not_blank(where, answer, "an answer") for answer in answers))
        continuation = self._not_blank(where, self._text(where, own.continuation, row, "continuation"), "continuation")
        return Completion(prompt, continuation if continuation[0].isspace() else spaced(prompt, continuation))

    def _not_blank(self, where: str, text: str, name: str) -> str:
        if not text.strip():
            raise UserError(f"{where}: {name} of task {self.name} is empty, so there is nothing to score.")
        return text

    def _solved(self, where: str, row: Mapping[str, Any]) -> str:
        item = self._item(where, row, "")
        if isinstance(item, Prompt):
            return item.prompt + spaced(item.prompt, item.answers[0])
        if isinstance(item, Completion):
            return item.context + item.continuation
        context, choice = item.pairs[item.label]
        return context + choice

    def _text(self, where: str, template: str, row: Mapping[str, Any], name: str) -> str:
        return str(self._run(where, name, template, row, lambda: self._templates(template).render(**row)))

    def _list(self, where: str, wanted: str | list[str] | None, row: Mapping[str, Any], name: str) -> list[str]:
        if isinstance(wanted, list):
            return [self._text(where, str(template), row, name) for template in wanted]
        found = self._value(where, str(wanted), row, name)
        found = [found] if isinstance(found, str) else found
        if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
            raise UserError(f"{where}: {name} of task {self.name} gives {found!r}, but it must give a list of texts.")
        return found

    def _value(self, where: str, expression: str, row: Mapping[str, Any], name: str) -> Any:
        found = self._run(where, name, expression, row, lambda: self._expressions(expression)(**row))
        if type(found).__name__ == "StrictUndefined":
            raise UserError(
                f"{where}: {name} of task {self.name}: the row has no {expression}. It has {', '.join(row)}."
            )
        return found

    def _label(self, where: str, row: Mapping[str, Any], choices: Sequence[str]) -> int:
        """Return the number of the true choice, given as number, letter or text."""
        found = self._value(where, str(self.own.answer), row, "answer")
        if isinstance(found, str):
            if choices.count(found) == 1:
                return choices.index(found)
            if len(found) == 1 and found.isalpha():
                return ord(found.upper()) - ord("A")
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if not isinstance(found, bool) and int(found) == float(found):
                return int(found)
        example = f' For true and false give the number: "1 if {self.own.answer} else 0".'
        raise UserError(
            f"{where}: answer of task {self.name} gives {found!r}, but it must give the number (from 0), the letter or "
            f"the text of one of the choices.{example if isinstance(found, bool) else ''}"
        )

    def _run(self, where: str, name: str, template: str, row: Mapping[str, Any], do: Callable[[], Any]) -> Any:
        from jinja2 import TemplateError

        try:
            return do()
        except TemplateError as error:
            raise UserError(
                f"{where}: {name} of task {self.name} ({template!r}): {str(error).rstrip('.')}. The row has "
                f"{', '.join(row)}."
            ) from None
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise UserError(f"{where}: {name} of task {self.name} ({template!r}): {error}.") from None
