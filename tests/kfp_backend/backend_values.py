"""Values as Kubeflow's backend handles them: numbers are doubles, only STRING converts, conditions are in CEL.

Paths and lines are of Kubeflow Pipelines 2.17.0, below backend/src/v2.
"""

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any


class BackendError(Exception):
    """What a driver ends with."""


_KINDS: dict[str, type | tuple[type, ...]] = {
    "NUMBER_DOUBLE": (int, float), "NUMBER_INTEGER": (int, float), "BOOLEAN": bool, "LIST": list, "STRUCT": dict,
    "TASK_FINAL_STATUS": dict,
}  # fmt: skip
_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_PARAMETER = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_WORDS = {"&&": " and ", "||": " or ", "!=": "!=", "!": " not ", "true": "True", "false": "False"}
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


def stored(value: Any) -> Any:
    """A value as the metadata give it back: a number is a double, and a whole one is written without a dot."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        double = float(value)
        return int(double) if double.is_integer() else double
    if isinstance(value, Mapping):
        return {str(name): stored(below) for name, below in value.items()}
    return [stored(below) for below in value]


def text(value: Any) -> str:
    """A value where a STRING is wanted (metadata/converter.go:15-48)."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def typed(name: str, wanted: str, value: Any) -> Any:
    """A value as an input of that type: STRING takes everything, every other type only its own (resolve.go:196-247)."""
    if wanted == "STRING":
        return text(value)
    if value is None:
        raise BackendError(f'got null for input parameter "{name}"')
    allowed = _KINDS[wanted]
    if not isinstance(value, allowed) or (isinstance(value, bool) and wanted != "BOOLEAN"):
        raise BackendError(f'input parameter "{name}" type mismatch: expect {wanted}, got {_kind(value)}')
    return value


def _kind(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "number", float: "number", list: "list", dict: "struct"}
    return names[type(value)]


def quantity(value: str) -> str:
    """An amount as Kubernetes reads it; an empty one is none."""
    if _QUANTITY.fullmatch(value) is None:
        raise BackendError(f"quantities must match the regular expression, and '{value}' does not")
    return value


def items(value: Any) -> list[Any]:
    """What a loop goes over: a list, or the JSON of one (driver/util.go, getItems)."""
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise BackendError(f"value of type {_kind(found)} cannot be iterated")
    return found


def holds(condition: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a condition of the compiler's holds (expression/expression.go:125): the part of CEL that it writes."""
    values: list[Any] = []

    def held(match: re.Match[str]) -> str:
        if match[1] not in inputs:
            raise BackendError(f"evaluation error: no such key: {match[1]}")
        values.append(inputs[match[1]])
        return f"v[{len(values) - 1}]"

    pieces = re.split(r"('(?:[^'\\]|\\.)*')", _PARAMETER.sub(held, condition))  # what is quoted stays as it is
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"&&|\|\||!=|!|\btrue\b|\bfalse\b", lambda found: _WORDS[found[0]], pieces[i])
    return bool(_value(ast.parse("".join(pieces).strip(), mode="eval").body, values))


def _value(node: ast.expr, values: list[Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Subscript(slice=ast.Constant(value=int() as place)):
            return values[place]
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, values)
        case ast.BoolOp():
            decide = all if isinstance(node.op, ast.And) else any
            return decide(_value(part, values) for part in node.values)
        case ast.Compare(ops=[one], comparators=[right]):
            return _COMPARE[type(one)](_value(node.left, values), _value(right, values))
        case ast.Call(func=ast.Name(id="int" | "double" as name), args=[argument]):
            return {"int": int, "double": float}[name](_value(argument, values))
    raise BackendError(f"the emulator knows no {type(node).__name__} in a condition")
