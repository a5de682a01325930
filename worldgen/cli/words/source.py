"""What functions and classes take, read off their source: nothing is imported, so that it is known at once.

Where the source leaves a doubt (``**kwargs``, a base class that is not found) the answer is None: who asks
must then let everything pass.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from worldgen.cli.words.options import argument_texts

_Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """The names of a module: what it defines, and what it imports under which path."""

    name: str
    defined: dict[str, _Definition]
    imported: dict[str, str]
    assigned: frozenset[str]


@dataclass(frozen=True)
class Parameter:
    """One argument."""

    name: str
    annotation: str
    default: str | None
    """As written; None where it must be given."""
    text: str
    classes: tuple[str, ...]
    """Paths of the classes that its annotation names."""


@dataclass(frozen=True)
class Signature:
    """What a class or function takes, and what its docstring says."""

    path: str
    parameters: dict[str, Parameter]
    doc: str
    abstract: bool


@cache
def signature(path: str) -> Signature | None:
    """What the class or function at an import path takes; None where the source does not say."""
    found = locate(path)
    if found is None:
        return _of_method(path)
    module, definition = found
    doc = ast.get_docstring(definition) or ""
    if isinstance(definition, ast.FunctionDef):
        return _of_function(path, module, definition, doc, bound=False)
    abstract = _is_abstract(definition)
    own = _method(definition, "__init__")
    if own is not None:
        taken = _of_function(path, module, own, doc, bound=True)
        return taken and Signature(path, taken.parameters, doc, abstract)
    parameters: dict[str, Parameter] = {}
    for base in definition.bases:
        target = _resolve(module, base)
        if target is not None and target.startswith(("abc.", "typing.")):
            continue
        above = signature(target) if target else None
        if above is None:
            return None
        parameters.update(above.parameters)
    if any(_last_name(decorator) == "dataclass" for decorator in definition.decorator_list):
        texts = argument_texts(doc)
        for part in definition.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                if _last_name(part.annotation) == "ClassVar":
                    continue
                name = part.target.id
                parameters[name] = _parameter(module, name, part.annotation, part.value, texts)
    elif not definition.bases or _method(definition, "__new__"):
        return None
    return Signature(path, parameters, doc, abstract)


def locate(path: str) -> tuple[Module, _Definition] | None:
    """The module and the definition that an import path leads to, through re-exports."""
    for _ in range(8):
        place, _, name = path.rpartition(".")
        module = read_module(place) if place else None
        if module is None:
            return None
        if name in module.defined:
            return module, module.defined[name]
        if name not in module.imported:
            return None
        path = module.imported[name]
    return None


@cache
def read_module(name: str) -> Module | None:
    """The names of a module; None where there is no such source."""
    file = _file(name)
    if file is None:
        return None
    try:
        tree = ast.parse(file.read_text())
    except (SyntaxError, UnicodeDecodeError):
        return None
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    defined: dict[str, _Definition] = {}
    imported: dict[str, str] = {}
    assigned: set[str] = set()
    body = list(tree.body)
    while body:
        part = body.pop(0)
        if isinstance(part, _Definition):
            defined[part.name] = part
        elif isinstance(part, ast.ImportFrom):
            origin = package.split(".")[: len(package.split(".")) - part.level + 1] if part.level else []
            source = ".".join([*origin, *([part.module] if part.module else [])])
            imported.update({alias.asname or alias.name: f"{source}.{alias.name}" for alias in part.names})
        elif isinstance(part, ast.Import):
            imported.update({alias.asname: alias.name for alias in part.names if alias.asname})
        elif isinstance(part, ast.Assign):
            assigned.update(target.id for target in part.targets if isinstance(target, ast.Name))
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            assigned.add(part.target.id)
        elif isinstance(part, ast.If | ast.Try):
            body = [*part.body, *part.orelse, *body]
    return Module(name, defined, imported, frozenset(assigned))


def _file(name: str) -> Path | None:
    top, *rest = name.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    choices = (base / "__init__.py", base.with_name(base.name + ".py"))
    return next((choice for choice in choices if choice.is_file()), None)


def _of_method(path: str) -> Signature | None:
    owner, _, name = path.rpartition(".")
    found = locate(owner) if owner else None
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    own = _method(found[1], name)
    return own and _of_function(path, found[0], own, ast.get_docstring(own) or "", bound=True)


def _of_function(
    path: str, module: Module, definition: ast.FunctionDef, doc: str, bound: bool
) -> Signature | None:
    arguments = definition.args
    if arguments.kwarg is not None:
        return None
    texts = argument_texts(doc) | argument_texts(ast.get_docstring(definition) or "")
    places = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(places) - len(arguments.defaults)), *arguments.defaults]
    pairs = [*zip(places, defaults, strict=True)][bound:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parameters = {
        place.arg: _parameter(module, place.arg, place.annotation, default, texts) for place, default in pairs
    }
    return Signature(path, parameters, doc, abstract=False)


def _parameter(
    module: Module, name: str, annotation: ast.expr | None, default: ast.expr | None, texts: dict[str, str]
) -> Parameter:
    written = ast.unparse(annotation) if annotation is not None else ""
    classes = tuple(dict.fromkeys(_classes(module, annotation))) if annotation is not None else ()
    value = None if default is None else ast.unparse(default)
    return Parameter(name, written, value, texts.get(name, ""), classes)


def _classes(module: Module, annotation: ast.expr) -> list[str]:
    """Paths of what a union of names names; of anything more involved, nothing."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _classes(module, annotation.left) + _classes(module, annotation.right)
    path = _resolve(module, annotation)
    return [path] if path is not None and locate(path) is not None else []


def _resolve(module: Module, expression: ast.expr) -> str | None:
    if isinstance(expression, ast.Name):
        if expression.id in module.defined:
            return f"{module.name}.{expression.id}"
        return module.imported.get(expression.id)
    if isinstance(expression, ast.Attribute):
        above = _resolve(module, expression.value)
        return above and f"{above}.{expression.attr}"
    return None


def _is_abstract(definition: ast.ClassDef) -> bool:
    parts = [part for part in definition.body if isinstance(part, ast.FunctionDef)]
    marks = [_last_name(mark) for part in parts for mark in part.decorator_list]
    return "abstractmethod" in marks or "ABC" in map(_last_name, definition.bases)


def _method(definition: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    methods = (part for part in definition.body if isinstance(part, ast.FunctionDef))
    return next((method for method in methods if method.name == name), None)


def _last_name(expression: ast.expr) -> str:
    while isinstance(expression, ast.Call | ast.Subscript):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")
