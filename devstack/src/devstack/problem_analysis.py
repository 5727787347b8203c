"""Which problems a function can raise, derived from the code: `make docs` writes it to each service's problems.json.

mypy resolves the names and the types of our own code; from there it is a call graph. A function raises what it names,
and what the functions that it names raise, less what it catches. Callbacks that are stored in one place and called in
another are not followed; the tests refuse a problem that is not declared (kit.http.errors), so that one is found.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import GetSetDescriptorType

from mypy import build
from mypy.find_sources import create_source_list
from mypy.nodes import (
    Decorator,
    Expression,
    FuncDef,
    MypyFile,
    Node,
    OverloadedFuncDef,
    RefExpr,
    SymbolNode,
    TypeInfo,
    Var,
)
from mypy.options import Options
from mypy.types import CallableType, Instance, Type, TypeType, TypeVarType, UnionType, get_proper_type

from kit.http.problems import Problem, ProblemType

_TYPE = f"{ProblemType.__module__}.{ProblemType.__qualname__}"
_CATCHES = {f"{Problem.__module__}.{Problem.__qualname__}", "builtins.Exception", "builtins.BaseException"}
_ENTERS = ("__enter__", "__exit__", "__aenter__", "__aexit__")

_REFERRED = {"node", "info", "original_def", "names", "defs_by_name", "plugin_deps", "alias_deps"}

Position = tuple[int, int, int | None, int | None]
"""Of an expression in its file: line and column of its start and of its end."""


@dataclass(frozen=True)
class Caught:
    """What a `try` does not let through: these types, or all whose status is not one of `passes`."""

    types: frozenset[str] = frozenset()
    passes: frozenset[int] | None = None


@dataclass
class Body:
    """What a function names: problem types, and other functions, each with what is caught around it."""

    types: set[tuple[str, tuple[Caught, ...]]] = field(default_factory=set)
    names: set[tuple[str, tuple[Caught, ...]]] = field(default_factory=set)


class Analysis:
    def __init__(self, sources: Sequence[Path], status_of: Mapping[str, int]) -> None:
        """`sources`: folders of packages. `status_of`: of each problem type, by its full name."""
        self._status_of = status_of
        self.bodies: dict[str, Body] = {}
        self.subclasses: dict[str, set[str]] = {}
        self.methods: dict[str, set[str]] = {}
        built = _build(sources)
        for tree in built.files.values():
            for info in (each.node for each in tree.names.values() if isinstance(each.node, TypeInfo)):
                self.methods[info.fullname] = set(info.names)
                for base in info.mro[1:]:
                    self.subclasses.setdefault(base.fullname, set()).add(info.fullname)
        for module, tree in built.files.items():
            path = Path(tree.path)
            if any(path.is_relative_to(each) for each in sources):
                _Reader(self, module, _expressions(tree), built.types).visit(ast.parse(path.read_text()))
        self._raised = self._solved()

    def raised_by(self, functions: Iterable[str]) -> frozenset[str]:
        """The full names of the problem types. `functions`: full names; methods with their class. Raises KeyError for
        one that is not in the sources."""
        found: frozenset[str] = frozenset()
        for name in functions:
            found |= self._raised[name]
        return found

    def _solved(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = dict.fromkeys(self.bodies, frozenset())
        changed = True
        while changed:
            changed = False
            for name, body in self.bodies.items():
                raised = {type for type, caught in body.types if self._passes(type, caught)}
                for called, caught in body.names:
                    raised |= {type for type in found.get(called, ()) if self._passes(type, caught)}
                if raised != found[name]:
                    found[name] = frozenset(raised)
                    changed = True
        return found

    def _passes(self, type: str, caught: Iterable[Caught]) -> bool:
        return all(
            type not in each.types and (each.passes is None or self._status_of.get(type) in each.passes)
            for each in caught
        )


def _build(sources: Sequence[Path]) -> build.BuildResult:
    options = Options()
    options.export_types = options.preserve_asts = True
    options.incremental = False
    options.follow_imports = "skip"  # other packages raise none of our problems
    options.ignore_missing_imports = True
    options.explicit_package_bases = options.namespace_packages = True
    options.mypy_path = [str(each) for each in sources]
    return build.build(create_source_list([str(each) for each in sources], options), options)


def _expressions(tree: MypyFile) -> list[Expression]:
    """All of the file. (mypy's own visitors are compiled, and cannot be subclassed.)"""
    found: list[Expression] = []
    waiting: list[object] = [tree]
    seen = set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, list | tuple):
            waiting += each
        elif isinstance(each, Node) and id(each) not in seen:
            seen.add(id(each))
            if isinstance(each, Expression):
                found.append(each)
            waiting += [getattr(each, name, None) for name in _parts(type(each))]  # type: ignore[arg-type]  # hashable
    return found


@cache
def _parts(of: type[Node]) -> tuple[str, ...]:
    """The attributes that are parts of a node, and not what it refers to."""
    return tuple(
        name
        for name in dir(of)
        if not name.startswith("_") and name not in _REFERRED and isinstance(getattr(of, name), GetSetDescriptorType)
    )


class _Reader(ast.NodeVisitor):
    """Fills `analysis.bodies` with those of one module. What a nested function names, the one around it names, too."""

    def __init__(
        self,
        analysis: Analysis,
        module: str,
        expressions: Sequence[Expression],
        types: Mapping[Expression, Type],
    ) -> None:
        self._analysis = analysis
        self._path = [module]
        self._types = {_position(each): types[each] for each in expressions if each in types}
        self._nodes = {_position(each): each.node for each in expressions if isinstance(each, RefExpr)}
        self._open: list[Body] = []
        self._caught: tuple[Caught, ...] = ()

    # --- where we are

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._path.append(node.name)
        self.generic_visit(node)
        self._path.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._path.append(node.name)
        self._within(".".join(self._path), lambda: [self.visit(each) for each in node.body])
        self._path.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Assign(self, node: ast.Assign) -> None:
        self._constant(node, node.targets[0], node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._constant(node, node.target, node.value)

    def _constant(self, node: ast.AST, target: ast.expr, value: ast.expr | None) -> None:
        """A constant is what its value names: a mapping of refusals to problem types."""
        if value is not None and not self._open and isinstance(target, ast.Name):
            self._within(".".join((*self._path, target.id)), lambda: self.visit(value))
        else:
            self.generic_visit(node)

    def _within(self, name: str, visit: Callable[[], object]) -> None:
        self._open.append(self._analysis.bodies.setdefault(name, Body()))
        visit()
        self._open.pop()

    # --- what is named

    def visit_Name(self, node: ast.Name) -> None:
        self._reference(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        self._reference(node)
        for info in self._instances(node.value):
            self._method(info, node.attr)

    def visit_Call(self, node: ast.Call) -> None:
        of = get_proper_type(self._types.get(_position_of(node.func)))
        if isinstance(of, Instance) and of.type.fullname != _TYPE:
            self._method(of.type, "__call__")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """`problem.type is X` raises no X."""
        if not self._types_in(node):
            self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        for info in self._instances(node.context_expr):
            for name in _ENTERS:
                self._method(info, name)
        self.generic_visit(node)

    def _reference(self, node: ast.expr) -> None:
        named = self._nodes.get(_position_of(node))
        if isinstance(named, Var) and _is_problem_type(named):
            self._note(types=[named.fullname])
        elif isinstance(named, TypeInfo):
            self._note(names=[f"{named.fullname}.{name}" for name in ("__init__", "__post_init__")])
        elif isinstance(named, Var | FuncDef | OverloadedFuncDef | Decorator) and "." in named.fullname:
            self._note(names=[named.fullname])

    def _method(self, info: TypeInfo, name: str) -> None:
        """The method, and those of the classes that override or implement it."""
        found = info.get(name)
        if found is None or not isinstance(found.node, SymbolNode):
            return
        classes = self._analysis.subclasses.get(info.fullname, set())
        if info.is_protocol:
            wanted = {each for each in info.names if not each.startswith("__") or each == "__call__"}
            implementing = {each for each, methods in self._analysis.methods.items() if wanted <= methods}
            classes = classes.union(implementing, *(self._analysis.subclasses.get(each, ()) for each in implementing))
        overriding = [f"{each}.{name}" for each in classes if name in self._analysis.methods[each]]
        self._note(names=[found.node.fullname, *overriding])

    def _note(self, *, types: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        for body in self._open:
            body.types |= {(each, self._caught) for each in types}
            body.names |= {(each, self._caught) for each in names}

    def _instances(self, node: ast.expr) -> Iterator[TypeInfo]:
        if (type := self._types.get(_position_of(node))) is not None:
            yield from _instances(type)

    # --- what is caught

    def visit_Try(self, node: ast.Try) -> None:
        before = self._caught
        self._caught = (*before, *self._catches(node))
        for each in node.body:
            self.visit(each)
        self._caught = before
        for after in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(after)

    def _catches(self, node: ast.Try) -> Iterator[Caught]:
        for handler in node.handlers:
            if handler.type is not None and not any(self._name(each) in _CATCHES for each in _each(handler.type)):
                continue
            raised_again = list(_raises_again(handler.body))
            if not raised_again:
                yield Caught(passes=frozenset())
            elif all(raised_again):
                yield Caught(passes=frozenset(_numbers(test for tests in raised_again for test in tests)))
            else:
                tests = [each.test for each in handler.body if isinstance(each, ast.If) and _leaves(each.body)]
                yield Caught(types=frozenset(name for test in tests for name in self._types_in(test)))

    def _name(self, node: ast.expr) -> str:
        named = self._nodes.get(_position_of(node))
        return named.fullname if named is not None else ""

    def _types_in(self, test: ast.expr) -> list[str]:
        """The problem types with which something is compared."""
        operands = [part for each in test.comparators for part in _each(each)] if isinstance(test, ast.Compare) else []
        named = (self._nodes.get(_position_of(each)) for each in operands)
        return [each.fullname for each in named if isinstance(each, Var) and _is_problem_type(each)]


def _position(expression: Expression) -> Position:
    return expression.line, expression.column, expression.end_line, expression.end_column


def _position_of(node: ast.expr) -> Position:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _is_problem_type(node: Var) -> bool:
    type = get_proper_type(node.type)
    return isinstance(type, Instance) and type.type.fullname == _TYPE and node.fullname.rpartition(".")[2].isupper()


def _instances(type: Type) -> Iterator[TypeInfo]:
    """The classes whose methods a value of this type has."""
    proper = get_proper_type(type)
    if isinstance(proper, Instance):
        yield proper.type
    elif isinstance(proper, UnionType):
        for each in proper.items:
            yield from _instances(each)
    elif isinstance(proper, TypeType):
        yield from _instances(proper.item)
    elif isinstance(proper, TypeVarType):
        yield from _instances(proper.upper_bound)
    elif isinstance(proper, CallableType) and proper.is_type_obj():
        yield from _instances(proper.ret_type)


def _each(node: ast.expr) -> Sequence[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _raises_again(body: Iterable[ast.stmt], tests: tuple[ast.expr, ...] = ()) -> Iterator[tuple[ast.expr, ...]]:
    """For each `raise` of what was caught: the conditions around it."""
    for statement in body:
        if isinstance(statement, ast.Raise) and statement.exc is None:
            yield tests
        elif isinstance(statement, ast.If):
            yield from _raises_again(statement.body, (*tests, statement.test))
            yield from _raises_again(statement.orelse, tests)


def _leaves(body: Sequence[ast.stmt]) -> bool:
    return isinstance(body[-1], ast.Raise | ast.Return)


def _numbers(tests: Iterable[ast.expr]) -> Iterator[int]:
    for test in tests:
        for part in ast.walk(test):
            if isinstance(part, ast.Constant) and isinstance(part.value, int):
                yield part.value
