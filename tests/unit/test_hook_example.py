"""The example of docs/guides/hooks.md is the file that the type checker reads, and it works."""

import json
import re
import runpy
import socket
from pathlib import Path

from patience import patient
from streamworkers.hooks import HookCall, HookItem

PROJECT = Path(__file__).parent.parent.parent
EXAMPLE = PROJECT / "examples" / "page_dead_items.py"


def test_the_example_of_the_guide_is_the_file() -> None:
    guide = (PROJECT / "docs" / "guides" / "hooks.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", guide, re.DOTALL)
    assert code is not None
    _, _, body = EXAMPLE.read_text(encoding="utf-8").partition('"""\n\n')
    assert code[1] == body


def test_the_example_sends_what_is_dead() -> None:
    items = (HookItem(0, "AAPL", "day", 3, "ValueError: no bars"),)
    call = HookCall(1, 7, "analysis", "analysis", "day", None, {}, None, "worker", items)
    hook = runpy.run_path(str(EXAMPLE))["PageDeadItems"]()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        hook.address = receiver.getsockname()
        receiver.settimeout(patient(5))
        hook.on_dead(call, items)
        sent = json.loads(receiver.recv(2000))
    hook.close()
    assert sent == {"job": "analysis", "run": 7, "count": 1, "dead": {"AAPL": "ValueError: no bars"}}
