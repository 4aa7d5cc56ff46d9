"""Signatures of operations, written as in the standard: "x, /, *, axis=None, keepdims=False".

A call is bound to them by hand, because `inspect.Signature.bind` takes longer than sending the operation. Bound arguments are
canonical: what is positional-only is positional, everything else is named, and what equals its default is left out.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: Marks a parameter without a default.
REQUIRED: Final = inspect.Parameter.empty


class Signature:
    """The parameters of one operation."""

    __slots__ = ("_takes", "defaults", "is_variadic", "name", "named", "positional", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        #: Parameters that are passed on by position, and those that are passed on by name.
        self.positional: tuple[str, ...] = ()
        self.named: tuple[str, ...] = ()
        #: Whether any number of arrays may come (meshgrid).
        self.is_variadic = False
        self.defaults: dict[str, Any] = {}
        self._takes = self._parse()

    def __repr__(self) -> str:
        return f"<Signature {self.name}({self.text})>"

    def _parse(self) -> int:
        """Read the text; return how many parameters may be given by position."""
        before: list[str] = []
        takes, named_only = 0, False
        for part in (item.strip() for item in self.text.split(", ")):
            if part == "/":
                self.positional, before = tuple(before), []
            elif part == "*":
                takes, named_only = len(self.positional) + len(before), True
            elif part.startswith("*"):
                self.is_variadic = named_only = True
            else:
                name, _, default = part.partition("=")
                before.append(name)
                if default:
                    self.defaults[name] = ast.literal_eval(default)
        self.named = tuple(before)
        return takes if named_only else len(self.positional) + len(before)

    def bind(self, args: Sequence[Any], given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return a call's arguments in canonical form; raise TypeError, in Python's words, for a call that does not fit."""
        if self.is_variadic:
            return list(args), self._options({}, given)
        if len(args) > self._takes:
            raise TypeError(f"{self.name}() takes {self._takes} positional arguments but {len(args)} were given")
        count = len(self.positional)
        bound = list(args[:count])
        for name in self.positional[len(bound) :]:
            if name not in self.defaults:
                raise TypeError(f"{self.name}() missing required positional argument: {name!r}")
            if len(args) < count:
                break  # what follows has defaults, which the function itself knows
        by_position = dict(zip(self.named, args[count:], strict=False))
        return bound, self._options(by_position, given) if given or self.named else {}

    def _options(self, by_position: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        for name in given:
            if name not in self.named:
                raise TypeError(f"{self.name}() got an unexpected keyword argument {name!r}")
            if name in by_position:
                raise TypeError(f"{self.name}() got multiple values for argument {name!r}")
        options = {**by_position, **given}
        for name in self.named:
            if name not in options and name not in self.defaults:
                raise TypeError(f"{self.name}() missing required argument: {name!r}")
        return {name: value for name, value in options.items() if not self._is_default(name, value)}

    def _is_default(self, name: str, value: Any) -> bool:  # noqa: ANN401 - any argument
        if name not in self.defaults:
            return False
        default = self.defaults[name]
        return value is default or (type(value) is type(default) and isinstance(value, int | float | str) and value == default)

    def described(self) -> inspect.Signature:
        """Return it as `inspect` shows signatures."""
        kinds = inspect.Parameter
        parameters = []
        named_only = False
        for part in (item.strip() for item in self.text.split(", ")):
            if part == "/":
                continue
            if part == "*":
                named_only = True
            elif part.startswith("*"):
                parameters.append(kinds(part[1:], kinds.VAR_POSITIONAL))
                named_only = True
            else:
                name = part.partition("=")[0]
                kind = kinds.POSITIONAL_ONLY if name in self.positional else kinds.POSITIONAL_OR_KEYWORD
                default = self.defaults.get(name, REQUIRED)
                parameters.append(kinds(name, kinds.KEYWORD_ONLY if named_only else kind, default=default))
        return inspect.Signature(parameters)
