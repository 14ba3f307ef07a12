"""What is written down is true: settings, metrics, commands, jobs, keys and files appear in the docs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from prometheus_client import CollectorRegistry
from psycopg_pool import ConnectionPool

from scheduler.alert_metrics import AlertCollector
from scheduler.message import REASONS
from scheduler.metrics import ScheduleCollector, SchedulerMetrics
from scheduler.notification_metrics import NotificationCollector
from scheduler.system_metrics import SystemCollector
from streamworkers.api.metrics import ApiMetrics
from streamworkers.cli.main import cli
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.host.failure_board import FailureBoard, FailureCollector
from streamworkers.engine.host.fault_metrics import HOLDING, STOPPED, UNREAD, FaultCollector
from streamworkers.engine.host.limit_metrics import LimitCollector
from streamworkers.engine.host.metrics import (
    BacklogCollector,
    DatabasePoolCollector,
    PoolMetrics,
    UndecidedCollector,
    WorkerCollector,
)
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import installed_jobs
from streamworkers.telegram.metrics import BotMetrics

ROOT = Path(__file__).parent.parent.parent


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _shown(default: object) -> str:
    if default is None:
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def settings_table() -> str:
    """The table of docs/reference/settings.md, from the code."""
    rows = [
        f"| `STREAMWORKERS_{name.upper()}` | {field.description} | {_shown(field.default)} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | meaning | default |", "| --- | --- | --- |", *rows])


def _registries() -> dict[str, CollectorRegistry]:
    """Everything that a worker's supervisor and a scheduler say on /metrics; nothing is connected."""
    streams = open_streams("redis://127.0.0.1:1", "nowhere")
    closed: ConnectionPool[Connection] = ConnectionPool("", open=False)
    own = [counter for counter in installed_jobs().counters if counter.name.startswith(("provider_", "deliver"))]
    scrapes = ScrapeBoard()
    pool, scheduling = PoolMetrics(own, installed_jobs().histograms), SchedulerMetrics()
    for metrics in (pool, scheduling):
        metrics.registry.register(BacklogCollector(streams, [], scrapes))
        metrics.registry.register(DatabasePoolCollector(closed))
        metrics.registry.register(FaultCollector(STOPPED, list))
        metrics.registry.register(FaultCollector(UNREAD, list))
    pool.registry.register(WorkerCollector(dict))
    pool.registry.register(FaultCollector(HOLDING, list))
    pool.registry.register(UndecidedCollector((), list))
    pool.registry.register(LimitCollector(streams, installed_jobs(), scrapes))
    scheduling.registry.register(ScheduleCollector(closed, scrapes))
    scheduling.registry.register(AlertCollector(closed, scrapes))
    scheduling.registry.register(NotificationCollector(closed, scrapes))
    scheduling.registry.register(SystemCollector(closed, streams, scrapes))
    bot = BotMetrics()
    bot.registry.register(DatabasePoolCollector(closed))
    bot.registry.register(FaultCollector(STOPPED, list))
    api = ApiMetrics()
    api.begin_at_zero([("GET", "/")])
    api.registry.register(DatabasePoolCollector(closed))
    api.registry.register(FaultCollector(STOPPED, list))
    for registry in (pool.registry, scheduling.registry, bot.registry, api.registry):
        registry.register(FailureCollector(FailureBoard(), list))
    return {"worker": pool.registry, "scheduler": scheduling.registry, "telegram": bot.registry, "api": api.registry}


def metrics_table(process: str) -> str:
    """A table of docs/reference/metrics.md, from the code."""
    rows = []
    for collector in _registries()[process]._collector_to_names:
        for metric in collector.describe():  # type: ignore[attr-defined]
            name = metric.name + ("_total" if metric.type == "counter" else "")
            labels: Any = getattr(collector, "_labelnames", None) or getattr(metric, "_labelnames", ())
            shown = " ".join(f"`{label}`" for label in labels)
            rows.append(f"| `{name}` | {metric.type} | {metric.documentation} | {shown} |")
    return "\n".join(["| name | type | meaning | labels |", "| --- | --- | --- | --- |", *sorted(rows)])


def command_reference(command: click.Command = cli, path: str = "streamworkers") -> str:
    """The part of docs/reference/cli.md about a command and those below it, from the code."""
    names = ["-h", "--help"]
    context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100, help_option_names=names)
    command._help_option = None  # click keeps the option of the first call, with the names that this call had
    text = f"## `{path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if not isinstance(command, click.Group):
        return text
    below = ((name, command.get_command(context, name)) for name in command.list_commands(context))
    parts = [command_reference(each, f"{path} {name}") for name, each in below if each and not each.hidden]
    return "\n".join([text, *parts])


def test_the_reference_of_commands_is_the_code() -> None:
    assert command_reference() in _text("docs/reference/cli.md")


def test_the_table_of_settings_is_the_code() -> None:
    assert settings_table() in _text("docs/reference/settings.md")


@pytest.mark.parametrize("process", ["worker", "scheduler", "telegram", "api"])
def test_the_tables_of_metrics_are_the_code(process: str) -> None:
    assert metrics_table(process) in _text("docs/reference/metrics.md")


def test_every_reason_to_reject_a_message_is_in_the_docs() -> None:
    text = _text("docs/reference/events.md")
    assert [reason for reason in REASONS if f"`{reason}`" not in text] == []


def test_every_command_is_in_the_changelog_and_has_a_help_text() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        assert f"`{name}`" in _text("CHANGELOG.md")
        command = cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str()
        if isinstance(command, click.Group):
            assert all(sub.get_short_help_str() for sub in command.commands.values())


def test_every_job_is_in_the_readme() -> None:
    own = [name for name, job in installed_jobs().items() if type(job).__module__.startswith("streamworkers.")]
    assert len(own) >= 3
    for name in own:
        assert f"| `{name}` |" in _text("README.md")


def test_every_command_line_of_the_readme_exists() -> None:
    context = click.Context(cli)
    lines = re.findall(r"^\$ streamworkers (.+?)(?:\s+#.*)?$", _text("README.md"), re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        words = line.split()
        command = cli.get_command(context, words[0])
        assert command is not None, line
        while isinstance(command, click.Group):
            words = words[1:]
            command = command.commands.get(words[0])
            assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_job_of_the_readme_is_a_job() -> None:
    code = re.search(r"```python\n([^`]*class LastClose.*?)```", _text("README.md"), re.DOTALL)
    assert code is not None
    names: dict[str, object] = {}
    exec(compile(code[1], "README.md", "exec"), names)
    from streamworkers.engine.registry import Registry

    registry = Registry([names["LastClose"]()])  # type: ignore[operator]
    assert registry["last_close"].batch_size == 100
    body = [line for line in code[1].splitlines() if line.strip() and not line.startswith(("from", "import"))]
    assert len(body) <= 15


def test_the_stable_api_is_sorted_documented_and_light() -> None:
    import streamworkers

    assert streamworkers.__all__ == sorted(streamworkers.__all__)
    text = _text("docs/reference/stability.md")
    assert [name for name in streamworkers.__all__ if f"`{name}`" not in text] == []
    assert [name for name in streamworkers.__all__ if not isinstance(getattr(streamworkers, name), type)] == ["notify"]
    heavy = "{'numpy', 'pandas', 'psycopg', 'redis'}"
    check = f"import streamworkers, sys; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_job_of_the_tutorial_is_a_job_with_checked_parameters() -> None:
    code = re.search(r"```python\n(.*?)```", _text("docs/tutorial.md"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[1], "docs/tutorial.md", "exec"), names)
    from streamworkers.engine.registry import Registry

    registry = Registry([names["PriceRange"]()])
    assert registry["price_range"].parameters.model_validate({"days": 5}) == names["Parameters"](days=5)


@pytest.mark.parametrize("name", ["docs/tutorial.md", "docs/guides/loading.md", "docs/guides/scheduling.md"])
def test_every_command_line_of_the_guides_exists(name: str) -> None:
    context = click.Context(cli)
    text = _text(name).replace("\\\n", " ")
    for line in re.findall(r"^\$ streamworkers (.+?)(?:\s+#.*)?$", text, re.MULTILINE):
        words = line.split()
        command = cli.get_command(context, words[0])
        assert command is not None, line
        while isinstance(command, click.Group):
            words = words[1:]
            command = command.commands.get(words[0])
            assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def _documents() -> list[str]:
    folders = [ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md"), ROOT.glob("*/README.md")]
    return sorted(path.relative_to(ROOT).as_posix() for paths in folders for path in paths)


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", _documents())
def test_every_link_of_the_docs_leads_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", _text(name)):
        if "://" in target:
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), target
        if anchor:
            assert anchor in _anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "docs/concepts.md"])
def test_every_module_that_the_docs_name_exists(name: str) -> None:
    folders = "admin|alerts|analysis|diagnosis|engine|jobs|loading|market|results|rules|schedules|scheduler"
    missing = [
        path
        for path in re.findall(rf"`(?:streamworkers/)?((?:{folders})/[a-z_/]*(?:\.py|\.lua)?)`", _text(name))
        if not ((ROOT / "streamworkers" / path).exists() or (ROOT / path).exists())
    ]
    assert missing == []


def test_the_glossary_has_a_word_once_in_order_and_each_with_a_place() -> None:
    table = (
        _text("docs/concepts.md").partition("| word | meaning | where |\n| --- | --- | --- |\n")[2].partition("\n\n")[0]
    )
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]
    assert len(rows) > 60
    assert [row for row in rows if len(row) != 3 or not all(row) or not row[1].endswith(".")] == []
    words = [row[0].lower() for row in rows]
    assert words == sorted(set(words))


def test_the_lock_file_pins_every_dependency_with_a_hash_and_names_no_registry() -> None:
    text = _text("requirements.lock")
    assert "://" not in text
    assert all("--hash=sha256:" in part for part in re.split(r"\n(?=[a-z])", text.strip()))


def test_the_default_definitions_are_as_many_as_the_changelog_says() -> None:
    seeds = _text("sql/migrations/0004_default_definitions.sql")
    counts = {"indicator": 0, "pattern": 0}
    for kind, rows in re.findall(r"INSERT INTO (\w+)_definitions(.*?);", seeds, re.DOTALL):
        counts[kind] += len(re.findall(r"^\s*\('", rows, re.MULTILINE))
    assert f"{counts['indicator']} indicators and {counts['pattern']} patterns" in _text("CHANGELOG.md")
