"""An operation: one method on one path, with everything that is to be known of it in one place."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.routing import compile_path

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.problem import NotFound, Problem

PREFIXES = ("/api/v1", "/api")  # the second is that of the replaced systems


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters in the query, or no body."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path below `/api/v1` and `/api`, or at the root.

    `query` and `body` are the types that the request is read into, `answer` is that of the answer's body. A `changing`
    operation has a row in the audit log, whatever its outcome; `action` and `object_type` name it there. One that
    `only_reads` changes nothing, although it is a POST, because what it reads is a body. One that `is_stream` is also
    answered by server-sent events.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[ApiCall], ApiAnswer]
    answer: Any
    scope: str = "read"
    query: Any = Nothing
    body: Any = Nothing
    status: int = 200
    action: str = ""
    object_type: str = ""
    problems: tuple[int, ...] = ()
    is_at_root: bool = False
    only_reads: bool = False
    is_tagged: bool = False
    is_stream: bool = False
    example: dict[str, Any] | None = field(default=None, compare=False)

    @property
    def changing(self) -> bool:
        """True if it changes something."""
        return self.method != "GET" and not self.only_reads

    @property
    def route(self) -> str:
        """Its path without the values: a label of metrics, and the path in the OpenAPI document."""
        return self.path if self.is_at_root else PREFIXES[0] + self.path

    @property
    def paths(self) -> Iterable[str]:
        """All paths under which it is found."""
        return (self.path,) if self.is_at_root else tuple(prefix + self.path for prefix in PREFIXES)

    @property
    def name(self) -> str:
        """Its name in the OpenAPI document."""
        return str(getattr(self.handler, "__name__", "operation")).lstrip("_")


class Routes:
    """Finds the operation of a request."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._fixed: dict[str, dict[str, Operation]] = {}
        self._patterns: dict[str, tuple[Any, dict[str, Operation]]] = {}
        for operation in operations:
            for path in operation.paths:
                if "{" in path:
                    pattern, _, _ = compile_path(path)
                    self._patterns.setdefault(path, (pattern, {}))[1][operation.method] = operation
                else:
                    self._fixed.setdefault(path, {})[operation.method] = operation

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """Return the operation and the values of its path. Raises NotFound, and Problem 405 for another method."""
        methods, values = self._find_path(path)
        if method not in methods:
            allowed = ", ".join(sorted(methods))
            text = f"{path[:200]} takes {allowed}, not {method[:20]}"
            raise Problem(405, "method-not-allowed", text, headers={"Allow": allowed})
        return methods[method], values

    def _find_path(self, path: str) -> tuple[dict[str, Operation], dict[str, str]]:
        if path in self._fixed:
            return self._fixed[path], {}
        for pattern, methods in self._patterns.values():
            if "\0" not in path and (match := pattern.match(path)):  # PostgreSQL could not even look for it
                return methods, match.groupdict()
        raise NotFound("path", path)
