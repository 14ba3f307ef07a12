"""This repository keeps its own rules, and each check of tests/house.py can fail."""

import re
import shutil
import statistics
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from house import (
    LONG_FUNCTIONS,
    MAY_NAME_THE_PAST,
    MEDIAN_LINES_OF_A_FILE,
    MOST_LINES_OF_A_FUNCTION,
    MOST_ROOMS_OF_THE_ENGINE,
    SHARED_NAMES,
    WRITERS_OF_BARS,
    glossary,
    import_cycle,
    long_functions,
    long_subjects,
    retired_words,
    rooms,
    shared_names,
    short_docstrings,
    sql_elsewhere,
    top_level_names,
    unrecorded_writers,
    unused_dependencies,
    without_contract,
    words_nowhere,
)

ROOT = Path(__file__).parent.parent.parent
ENGINE = ROOT / "streamworkers" / "engine"
PRODUCT = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in ("streamworkers", "scheduler")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
LUA = {path.name: path.read_text(encoding="utf-8") for path in sorted(ENGINE.rglob("*.lua"))}


FIRST_COMMIT = "3bfde78"  # the last one before these rules


def _documents() -> dict[str, str]:
    paths = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in ("README.md", "ARCHITECTURE.md"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _others(*folders: str) -> dict[str, str]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    own = [path for path in paths if "node_modules" not in path.parts]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in own}


def test_no_two_classes_or_public_functions_have_a_name() -> None:
    assert {name: paths for name, paths in shared_names(PRODUCT).items() if name not in SHARED_NAMES} == {}


def test_retired_words_are_gone_from_code_and_docs() -> None:
    documents = {path: text for path, text in _documents().items() if path not in MAY_NAME_THE_PAST}
    rules = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (ROOT / "prometheus").rglob("*.yml")
    }
    found = retired_words({**PRODUCT, **LUA, **_others("grafana", "fakes", "benchmarks"), **documents, **rules})
    assert found == [], "\n".join([f"{len(found)} retired words", *found])


def test_every_word_of_the_glossary_is_used_and_lives_where_it_says() -> None:
    documents = _documents()
    words = glossary(documents.pop("docs/concepts.md"))
    assert len(words) > 50
    assert words_nowhere(words, "\n".join([*PRODUCT.values(), *documents.values()])) == []
    paths = {
        path for where in words.values() for path in re.findall(r"(?:^|[`\s])([a-z_/0-9-]+(?:/|\.py|\.md))`", where)
    }
    assert [
        path for path in sorted(paths) if not ((ROOT / "streamworkers" / path).exists() or (ROOT / path).exists())
    ] == []


def test_the_sql_of_a_table_is_in_its_module() -> None:
    assert sql_elsewhere(PRODUCT) == []


def test_no_writer_of_bars_forgets_to_record() -> None:
    assert unrecorded_writers(PRODUCT) == []


def test_every_lua_script_states_its_contract() -> None:
    assert len(LUA) > 8
    assert without_contract(LUA) == []


def test_no_docstring_is_shorter_than_a_sentence() -> None:
    found = short_docstrings(PRODUCT)
    assert found == [], "\n".join([f"{len(found)} short docstrings", *found])


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports test files by their name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_functions_and_files_are_short_and_the_engine_has_few_rooms() -> None:
    assert long_functions(PRODUCT).keys() == LONG_FUNCTIONS.keys()
    assert statistics.median(text.count("\n") for text in PRODUCT.values()) <= MEDIAN_LINES_OF_A_FILE
    assert len(rooms(path.name for path in ENGINE.iterdir())) <= MOST_ROOMS_OF_THE_ENGINE


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert import_cycle(PRODUCT) == []


def test_the_wheel_installs_two_names() -> None:
    assert top_level_names(_project()) == {"streamworkers", "scheduler"}


def test_every_dependency_is_imported() -> None:
    assert unused_dependencies(_project()["project"], {**PRODUCT, **_others("fakes")}) == []


def test_subjects_of_commits_are_short() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    words = [git, "log", "--no-merges", "--format=%s", f"{FIRST_COMMIT}..HEAD"]
    log = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if log.returncode != 0:
        pytest.skip(f"the history does not reach {FIRST_COMMIT}")
    assert long_subjects(log.stdout.splitlines()) == []


def test_control_a_name_used_twice_is_found_but_for_commands_and_private_ones() -> None:
    one = "class Page: ...\ndef _own(): ...\n@cli.command('run')\ndef run(): ...\n@group.command()\ndef show(): ..."
    assert shared_names({"a.py": one, "b.py": "def Page(): ...\ndef _own(): ...\ndef run(): ...\ndef show(): ..."}) == {
        "Page": ["a.py", "b.py"]
    }


@pytest.mark.parametrize(
    "text",
    [
        "# Whoever reads it.",
        '"""Entries that were handed over."""',
        'click.option("--x", help="It is put off for a while.")',
        'Field(description="Rows that were refused.")',
        'x = f"no worker has taken over {1}"',
    ],
)
def test_control_a_retired_word_is_found(text: str) -> None:
    assert len(retired_words({"a.py": text})) == 1
    assert len(retired_words({"a.md": text.replace("# ", "")})) == 1


def test_control_honest_meanings_and_names_are_not_retired_words() -> None:
    honest = "# connection refused; foreign keys; said of a symbol; put back into the stream\nhanded_over = told = 1"
    assert retired_words({"a.py": honest}) == []


def test_control_a_word_that_is_nowhere_is_found() -> None:
    rows = "| word | meaning | where |\n| --- | --- | --- |\n| as-of | x | `a.py` |\n| `Loss Check` | y | b |"
    text = f"# A\n\n{rows}\n\n| of |"
    assert glossary(text) == {"as-of": "`a.py`", "Loss Check": "b"}
    assert words_nowhere(glossary(text), "run.as_of") == ["Loss Check"]
    assert words_nowhere(glossary(text), "AsOf of a LossCheck") == []
    assert words_nowhere(["late entry", "early entry"], "all late entries") == ["early entry"]


@pytest.mark.parametrize(
    ("path", "statement", "tables"),
    [
        ("scheduler/ticker.py", "SELECT 1 FROM ticks", ["ticks"]),
        ("streamworkers/jobs/health.py", "INSERT INTO health_checks SELECT 1 FROM\n run_items", ["run_items"]),
        ("scheduler/status.py", "SELECT 1 FROM runs r JOIN run_items i", []),
        ("scheduler/status.py", "UPDATE runs SET id = 1", ["runs"]),
        ("scheduler/status.py", "DELETE FROM runs", ["runs"]),
        ("streamworkers/engine/ledger/any.py", "DELETE FROM runs", []),
        ("streamworkers/jobs/analysis.py", "COPY ohlcv_daily FROM STDIN", ["ohlcv_daily"]),
        ("streamworkers/jobs/analysis.py", "the runs from schedules", []),
    ],
)
def test_control_sql_outside_of_its_module_is_found(path: str, statement: str, tables: list[str]) -> None:
    assert sql_elsewhere({path: f"x = f'''{statement}'''"}) == [f"{path}: {table}" for table in tables]


def test_control_a_writer_of_bars_that_does_not_record_is_found() -> None:
    write, lesser = WRITERS_OF_BARS
    cases = (
        *(
            (write, "_move", ".counting("),
            (write, "delete_bars", ".counting("),
            (write, "store_series", ".note_copied("),
        ),
        (lesser, "remove_lesser", ".counting("),
    )
    for path, name, note in cases:
        assert note in PRODUCT[path]
        assert f"{path}: {name}" in unrecorded_writers({path: PRODUCT[path].replace(note, ".forget(")})
    other = "execute(sql.SQL('DELETE FROM {table}').format(table=timeframe.table))"
    assert unrecorded_writers({"a.py": other, "b.py": "x = 'UPDATE ohlcv_daily SET'"}) == ["a.py", "b.py"]


def test_control_a_script_without_contract_is_found() -> None:
    whole = "-- Adds.\n-- KEYS: stream. ARGV: id.\n-- Returns 1. Bound: 1.\nreturn 1\n"
    scripts = {"whole": whole, "late": "return 1\n" + whole, "function": "-- Returns 1.\nlocal function f() end\n"}
    assert without_contract(scripts) == [f"late: {word}" for word in ("KEYS", "ARGV", "Returns", "Bound")]
    assert without_contract({"bare": "-- Adds.\nlocal function f() end\n"}) == ["bare: Returns"]
    assert without_contract({"unbound": whole.replace("Bound", "bound")}) == ["unbound: Bound"]


def test_control_a_short_docstring_is_found() -> None:
    method = '    def b(self):\n        """Returns the rows of a table."""'
    text = f'"""`streamworkers runs`."""\nclass A:\n    """All of them."""\n{method}'
    assert short_docstrings({"a.py": text}) == ["a.py: A: 'All of them.'"]
    assert short_docstrings({"a.py": '"""The runs."""'}) == ["a.py: module: 'The runs.'"]


def test_control_a_long_function_is_found_and_rooms_are_counted() -> None:
    body = "\n".join(["        x = 1"] * MOST_LINES_OF_A_FUNCTION)
    assert long_functions({"a.py": f"class A:\n    def f(self):\n{body}\n    def g(self): ..."}) == {"A.f": 41}
    assert rooms(["__init__.py", "__pycache__", "job.py", "redis"]) == {"job.py", "redis"}


def test_control_a_circle_of_imports_is_found() -> None:
    circle = {"x/a.py": "from x import b", "x/b.py": "from x.c import y", "x/c.py": "import os\nfrom x.a import z"}
    assert sorted(set(import_cycle(circle))) == ["x.a", "x.b", "x.c"]
    assert import_cycle({**circle, "x/c.py": "y = 1"}) == []


def test_control_a_third_name_in_the_wheel_and_an_unused_dependency_are_found() -> None:
    wheel = {"only-include": ["streamworkers", "tests", "sql/roles.sql"], "sources": {"sql": "streamworkers/sql"}}
    assert top_level_names({"tool": {"hatch": {"build": {"targets": {"wheel": wheel}}}}}) == {"streamworkers", "tests"}
    project = {
        "dependencies": ["PyYAML>=6", "psycopg[binary]>=3", "rich"],
        "optional-dependencies": {"dev": ["ruff"], "x": ["uvicorn"]},
    }
    assert unused_dependencies(project, {"a.py": "import yaml\nfrom psycopg.rows import dict_row"}) == [
        "rich",
        "uvicorn",
    ]


def test_control_a_long_subject_is_found() -> None:
    assert long_subjects(["Short", "x" * 72, "y" * 73]) == ["y" * 73]
