"""Kinds of values: what an annotation takes, said in words, and whether a value is of it.

Configuration values are JSON values, so they are checked as JSON by pydantic in its strict mode: a number is no text,
a text no number, true and false are neither, a list goes where a tuple is asked for. An object (a part with a class of
its own) is checked by its role instead, see ``mmdiff.config.build``.
"""

import inspect
import json
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

LIMITS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


class KindError(ValueError):
    """A value of the wrong kind; the text names the key, what it takes and what was given."""


def check(value: Any, annotation: Any, *, key: str) -> None:
    """Raise ``KindError`` where ``value``, as YAML or JSON gives it, is not what ``annotation`` takes."""
    adapter = _adapter(annotation)
    if adapter is None:
        return
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        if re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False, default=repr)):
            raise KindError(f"{key} holds half of a letter (a surrogate alone), which no file can: {value!r}") from None
        raise KindError(f"{key} is {words(annotation)}, got {_shown(value)}") from None
    if isinstance(value, float) and math.isnan(value):
        raise KindError(f"{key} is {words(annotation)}, got nan")


def words(annotation: Any) -> str:
    """What an annotation takes, for people: ``a whole number of at least 1, or null``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [text.format(getattr(rule, name)) for rule in inner[1:] for name, text in LIMITS.items()
                  if hasattr(rule, name)]
        return words(inner[0]) + (f", {' and '.join(limits)}" if limits else "")
    if _is_union(annotation):
        some = list(dict.fromkeys(words(a) for a in inner if a is not type(None)))
        return ", or ".join([*some, "null"] if type(None) in inner else some)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else str(inner[0])
    if origin is tuple and Ellipsis not in inner:
        return f"[{', '.join(words(a) for a in inner)}]"
    kind = origin or annotation
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "a mapping" + (f" to {words(inner[1])}" if inner and inner[1] is not Any else "")
    if inspect.isclass(kind) and issubclass(kind, Sequence) and kind is not str:
        return "a list" + (f" of which each is {words(inner[0])}" if inner else "")
    simple = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    return simple.get(kind) or f"a {getattr(kind, '__name__', str(kind))}"


def takes_text(annotation: Any) -> bool:
    """Whether what people write for it is meant as it stands: a text or path, or nothing else but null."""
    members = [a for a in _members(annotation) if a is not type(None)]
    return bool(members) and all(a in (str, Path) for a in members)


def roles(annotation: Any) -> tuple[type, ...]:
    """The classes of objects that an annotation takes, those of its list or mapping included; none for plain values."""
    found: list[type] = []
    for member in _members(annotation):
        origin = get_origin(member)
        if origin is not None and origin is not Literal:
            found += [role for inner in get_args(member) for role in roles(inner)]
        elif inspect.isclass(member) and member.__module__ not in ("builtins", "typing") and member is not Path:
            found.append(member)
    return tuple(found)


def item(annotation: Any) -> Any:
    """What the values of the mapping are that an annotation takes; ``Any`` where it takes none."""
    for member in _members(annotation):
        kind = get_origin(member)
        if inspect.isclass(kind) and issubclass(kind, Mapping):
            return get_args(member)[1]
    return Any


@cache
def annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of each named parameter of a constructor; ``Any`` where it has none that can be read."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (NameError, TypeError, SyntaxError):                       # a name that only a type checker imports
        parameters = inspect.signature(function).parameters
    found = {name: p.annotation for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return {name: Any if a is inspect.Parameter.empty or isinstance(a, str) else a for name, a in found.items()}


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    return [m for a in get_args(annotation) for m in _members(a)] if _is_union(annotation) else [annotation]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


@lru_cache(maxsize=512)
def _adapter(annotation: Any) -> TypeAdapter | None:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None                                                   # an annotation that says nothing of plain values


def _shown(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
