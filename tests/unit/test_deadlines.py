"""No test gives up after a fixed number of seconds: a deadline is multiplied by patience, see `patience.py`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
# Arguments and methods that say after how many seconds somebody gives up.
ARGUMENTS = {"timeout", "socket_timeout", "massive_timeout_seconds"}
METHODS = {"join", "settimeout", "wait"}
CLOCKS = {"monotonic", "perf_counter", "time"}
# So short a time is a pause between two looks, or how long nothing may come.
PAUSE_SECONDS = 0.5
# These scale what they are given; `mark.timeout` is scaled by conftest.
SCALED = {"patient", "paced", "timeout"}
# Others, by file.
ALLOWED: dict[str, set[str]] = {
    "chaos/scraper.py": {"self._stop_requested.wait(_PAUSE_SECONDS)"},  # between two looks
    "watching/test_watched_system.py": {"time.time() + 60"},  # the end of a range of bars
    "sample_jobs/sample_jobs.py": {"time.monotonic() + 600"},  # ends a process whose test has ended
}


def _bare(node: ast.expr | None, constants: dict[str, ast.expr]) -> bool:
    """True for a number of seconds that nothing scales, also when a constant of the module names it."""
    match node:
        case ast.Constant(value=int() | float() as seconds):
            return not isinstance(seconds, bool) and seconds > PAUSE_SECONDS
        case ast.Name(id=name):
            return name in constants and _bare(constants[name], {})
        case ast.BinOp(left=left, right=right):
            return _bare(left, constants) and _bare(right, constants)
    return False


def _deadlines(tree: ast.Module) -> Iterator[ast.Call | ast.BinOp]:
    """Every expression that makes a deadline of a bare number."""
    constants = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=args, keywords=keywords):
                if name in SCALED:
                    continue
                seconds = [keyword.value for keyword in keywords if keyword.arg in ARGUMENTS]
                if name in METHODS and len(args) == 1:
                    seconds.append(args[0])
                if any(_bare(value, constants) for value in seconds):
                    yield node
            case ast.BinOp(left=ast.Call(func=ast.Attribute(attr=clock)), op=ast.Add(), right=right):
                if clock in CLOCKS and _bare(right, constants):
                    yield node


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("process.wait(30)", 1),
        ("process.wait(patient(30))", 0),
        ("LIMIT = 30\nthread.join(LIMIT)", 1),
        ("LIMIT = patient(30)\nthread.join(LIMIT)", 0),
        ("run(words, timeout=60.0)", 1),
        ("run(words, timeout=2 * 60)", 1),
        ("run(words, timeout=patient(60))", 0),
        ("listener.get_message(timeout=0.1)", 0),
        ("deadline = time.monotonic() + 3", 1),
        ("later = time.monotonic() + patient(3)", 0),
        ("', '.join(words)", 0),
        ("wait_until(done, 30)", 0),
        ("mark.timeout(600)", 0),
    ],
)
def test_a_bare_number_of_seconds_is_found(text: str, count: int) -> None:
    assert len(list(_deadlines(ast.parse(text)))) == count


def test_no_test_has_a_deadline_that_does_not_grow_with_patience() -> None:
    found = [
        f"{name}:{node.lineno}: {text}"
        for path in sorted(TESTS.rglob("*.py"))
        for name in [path.relative_to(TESTS).as_posix()]
        for node in _deadlines(ast.parse(path.read_text(encoding="utf-8")))
        if (text := ast.unparse(node)) not in ALLOWED.get(name, ())
    ]
    assert found == []


def test_every_exception_exists() -> None:
    for name, texts in ALLOWED.items():
        tree = ast.parse((TESTS / name).read_text(encoding="utf-8"))
        assert {ast.unparse(node) for node in _deadlines(tree)} == texts
