"""No parameter of a TA-Lib function is left to the library, whose defaults change with its versions."""

import ast
from pathlib import Path

import pytest
import talib.abstract

ROOT = Path(__file__).parents[3]
CODE = {path.name: path.read_text() for path in sorted((ROOT / "streamworkers").rglob("*.py"))}


def _incomplete_calls(code: str) -> list[str]:
    """The calls of `talib.NAME` that give fewer arguments than the function has inputs and parameters."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.isupper()):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "talib":
            info = vars(talib.abstract)["Function"](node.func.attr).info
            inputs = [
                one for name in info["input_names"].values() for one in (name if isinstance(name, list) else [name])
            ]
            if len(node.args) + len(node.keywords) < len(inputs) + len(info["parameters"]):
                found.append(ast.unparse(node))
    return found


def test_every_call_of_ta_lib_gives_every_parameter() -> None:
    assert {name: calls for name, code in CODE.items() if (calls := _incomplete_calls(code))} == {}


@pytest.mark.parametrize("call", ["talib.BBANDS(series.close, period, 2.0, 2.0)", "talib.RSI(series.close)"])
def test_a_call_that_leaves_one_out_is_found(call: str) -> None:
    assert _incomplete_calls(f"result = {call}") == [call]
