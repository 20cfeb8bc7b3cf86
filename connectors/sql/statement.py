"""A free query, understood: one SELECT of known parts over mapped tables, every column of which has its table.

What is not understood is refused. The text that is sent in the end is written anew, from the tree: each mapped table
stands in it as a subquery of the columns that were decided and the rows that the decision leaves, so that nothing in
the agent's own part of the query can reach further, whatever it says.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError, SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

from broker.connector import errors
from connectors.sql.allowed import COLLECTING, EXPRESSIONS, FUNCTIONS, STRUCTURE, TYPES, UNITS
from connectors.sql.bounded import parsed
from connectors.sql.tables import Mapped, Tables

LONGEST = 5_000  # characters
_DEEPEST = 40  # parentheses within each other
_MOST_NODES = 1500
_MOST_LEVELS = 200
_MOST_TABLES = 12
_MOST_SELECTS = 40
_MOST_COLUMNS = 300  # of what a query selects anywhere, with every * written out
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_WORDS = re.compile(r"[A-Za-z ]{0,40}")
_QUANTITY = re.compile(r"\d{1,6}")
_UNRESOLVED = re.compile(r"[Cc]olumn '\"?([^'\"]{1,128})")
_READING = (exp.Select, exp.Union, exp.Except, exp.Intersect)

logging.getLogger("sqlglot").disabled = True  # it would write what agents ask into the broker's log

Conditions = Callable[[Mapped], Sequence[exp.Expr]]


@dataclass(frozen=True, slots=True)
class Statement:
    """One query. `touched` are the mapped tables and the columns of each that it names, in the tables' order."""

    tree: exp.Query
    tables: Sequence[Mapped]
    touched: Mapping[str, frozenset[str]]
    names: Sequence[str]
    uses: Mapping[str, int]
    """How often each table's rows come in, by resource."""
    collects: bool
    """Whether it brings the values of several rows into one."""
    limit: int | None
    offset: int
    _of: Mapping[str, Mapped] = field(repr=False)

    def rewritten(self, conditions: Conditions, limit: int) -> exp.Query:
        """Return the query with every table narrowed to what was decided, and its rows cut at a limit."""
        tree = self.tree.copy()
        for table in list(tree.find_all(exp.Table)):
            if (mapped := self._of.get(table.name)) is not None:
                table.replace(self._narrowed(mapped, table, conditions(mapped)))
        tree.set("limit", exp.Limit(expression=exp.Literal.number(limit)))
        return tree

    @property
    def parts(self) -> frozenset[str]:
        """The names of its WITH queries."""
        return frozenset(cte.alias for cte in self.tree.find_all(exp.CTE))

    def _narrowed(self, mapped: Mapped, table: exp.Table, conditions: Sequence[exp.Expr]) -> exp.Subquery:
        columns = [
            exp.alias_(mapped.column(name), mapped.written(name), quoted=True)
            for name in sorted(self.touched[mapped.resource])
        ]
        inner = exp.select(*(columns or [exp.alias_(exp.Literal.number(1), "_", quoted=True)])).from_(mapped.source())
        if conditions:
            # A fence: what the agent asks is asked of the rows that are left, and an error tells nothing of others
            inner = inner.where(*conditions, copy=False).offset(0)
            inner = inner if mapped.dialect == "postgres" else inner.limit(-1)
        return exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier(table.alias, quoted=True)))


def understand(text: str, tables: Tables) -> Statement:
    """Return what a query means over the mapped tables; raise `InvalidArguments` for what is not understood.

    How long that takes is bounded: by the length of the text, and by what stands in it.
    """
    try:
        return _understood(text, tables)
    except RecursionError:
        raise errors.InvalidArguments("The query is nested too deeply to be understood.") from None


def _understood(text: str, tables: Tables) -> Statement:
    tree = _parsed(text, tables.dialect)
    _check(tree, tables.dialect)
    limit, offset = _take_number(tree, "limit"), _take_number(tree, "offset")
    of = _resolve(tree, tables)
    _check_columns(tree, of)
    _name_columns(tree)
    qualified = _qualified(tree, of, tables.dialect)
    _check(qualified, tables.dialect)  # what a name has turned out to be may be another part than was parsed
    _check_names(qualified, of)
    if offset:
        qualified.set("offset", exp.Offset(expression=exp.Literal.number(offset)))
    touched = _touched(qualified, of)
    return Statement(
        qualified,
        [mapped for resource, mapped in tables.of.items() if resource in touched],
        {resource: touched[resource] for resource in tables.of if resource in touched},
        _result_names(qualified, of),
        _uses(qualified, of),
        any(type(node) in COLLECTING for node in qualified.walk()),
        limit,
        offset or 0,
        of,
    )


def _parsed(text: str, dialect: str) -> exp.Query:
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if "\0" in text or len(text) > LONGEST or deepest > _DEEPEST:
        raise errors.InvalidArguments(f"A query may have {LONGEST} characters, and {_DEEPEST} levels of parentheses.")
    try:
        trees = parsed(text, dialect)
    except ParseError as error:
        first: dict[str, Any] = error.errors[0] if error.errors else {}
        where = f" at line {first['line']}, column {first['col']}" if first.get("line") else ""
        raise errors.InvalidArguments(f"The query cannot be understood{where}.") from None
    except (SqlglotError, RecursionError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise errors.InvalidArguments("The query cannot be understood.") from None
    found = [tree for tree in trees if tree is not None]
    if len(found) != 1:
        raise errors.InvalidArguments("One statement is taken at a time, and it must be there.")
    tree = found[0]
    while isinstance(tree, exp.Subquery) and not tree.alias and tree.this is not None and len(_given(tree)) == 1:
        tree = tree.this.pop()
    if type(tree) not in _READING:
        raise errors.InvalidArguments("Only SELECT is taken; other tools create, update and delete.")
    return tree  # type: ignore[return-value] # one of the kinds above


def _given(node: exp.Expr) -> set[str]:
    return {name for name, value in node.args.items() if value is not None and value is not False and value != []}


def _check(tree: exp.Expr, dialect: str) -> None:
    """Refuse the first part of a query that is not known to be harmless."""
    for number, (node, depth) in enumerate(_each(tree)):
        kind = type(node)
        if number > _MOST_NODES or depth > _MOST_LEVELS:
            raise errors.InvalidArguments("The query is too long to be understood; ask for less at once.")
        if kind in STRUCTURE:
            if unknown := _given(node) - STRUCTURE[kind]:
                _refuse(f"{kind.key.upper()} with {min(unknown).strip('_').upper()}")
        elif kind is exp.Anonymous:
            if not isinstance(node.this, str) or node.this.lower() not in FUNCTIONS[dialect]:
                _refuse(f"the function {node.name[:60]}")
        elif kind not in EXPRESSIONS:
            _refuse(f"the function {kind.key}" if isinstance(node, exp.Func) else kind.key.upper())
        _check_words(node, dialect)


def _each(tree: exp.Expr) -> Iterator[tuple[exp.Expr, int]]:
    """Yield every part of a tree, and how deep it stands in it."""
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += ((one, depth + 1) for one in node.iter_expressions())


def _refuse(what: str) -> None:
    raise errors.InvalidArguments(
        f"The query has what is not taken here: {what}. Taken are SELECT with joins, subqueries, WITH, UNION, "
        "aggregates, window functions and the usual functions of numbers, texts and dates."
    )


def _check_words(node: exp.Expr, dialect: str) -> None:
    """Refuse words of the query's own where a word is written as it is."""
    match node:
        case exp.Var():
            if node.name.upper() not in UNITS:
                _refuse(node.name[:60])
        case exp.DataType():
            if node.this not in TYPES:
                _refuse(f"the type {getattr(node.this, 'value', '')}")
        case exp.Table() if not isinstance(node.this, exp.Identifier):
            _refuse("a function in FROM")
        case exp.Interval() if dialect == "sqlite" or not _is_plain(node):
            _refuse("an INTERVAL other than INTERVAL '7 days'")
        case _ if not isinstance(node, exp.Identifier | exp.Literal | exp.Anonymous):
            words = [value for value in node.args.values() if isinstance(value, str)]
            if not all(_WORDS.fullmatch(word) for word in words):
                _refuse(type(node).key.upper())


def _is_plain(interval: exp.Interval) -> bool:
    known = isinstance(interval.this, exp.Literal) and _QUANTITY.fullmatch(interval.this.name) is not None
    return known and interval.args.get("unit") is not None


def _take_number(tree: exp.Query, name: str) -> int | None:
    """Take the outermost LIMIT or OFFSET off, and return it."""
    node = tree.args.get(name)
    if node is None:
        return None
    tree.set(name, None)
    value = node.expression
    if not isinstance(value, exp.Literal) or value.is_string or not value.name.isdecimal():
        raise errors.InvalidArguments(f"{name.upper()} takes a number.")
    return min(int(value.name[:12]), 1_000_000)


# --- Tables ----------------------------------------------------------------------------------------------------------


def _resolve(tree: exp.Query, tables: Tables) -> dict[str, Mapped]:
    """Give every table and every WITH query a name of ours, so that no name of the agent's is ever looked up."""
    number = {resource: f"t{place}" for place, resource in enumerate(tables.of)}
    found: dict[str, Mapped] = {}
    physical: list[tuple[exp.Table, Mapped]] = []
    inner: list[tuple[exp.Table, exp.CTE]] = []
    references = list(tree.find_all(exp.Table))
    if len(references) > _MOST_TABLES:
        raise errors.InvalidArguments(f"A query may name {_MOST_TABLES} tables.")
    for table in references:
        name, schema = (_folded(table.args.get(part), tables.dialect) for part in ("this", "db"))
        cte = None if schema else next((one for one in _visible(table) if _cte_name(one, tables) == name), None)
        if cte is None:
            physical.append((table, tables.find(schema, name)))
        else:
            inner.append((table, cte))
    for place, cte in enumerate(tree.find_all(exp.CTE)):
        cte.meta["name"] = f"c{place}"
    for table, mapped in physical:
        if table.args.get("alias") is not None and table.args["alias"].args.get("columns"):
            _refuse("other names for the columns of a table, outside SELECT")
        _rename(table, number[mapped.resource])
        found[number[mapped.resource]] = mapped
    for table, cte in inner:
        _rename(table, cte.meta["name"])
    for cte in tree.find_all(exp.CTE):
        cte.args["alias"].set("this", exp.to_identifier(cte.meta["name"], quoted=True))
    return found


def _folded(identifier: Any, dialect: str) -> str:
    """Return a name as the dialect reads it."""
    if not isinstance(identifier, exp.Identifier):
        return ""
    name: str = identifier.name
    return name if dialect == "postgres" and identifier.quoted else name.lower()


def _cte_name(cte: exp.CTE, tables: Tables) -> str:
    return _folded(cte.args["alias"].this, tables.dialect)


def _visible(node: exp.Expr) -> Iterator[exp.CTE]:
    """Yield the WITH queries that can be named at a place, the nearest first."""
    child, parent = node, node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            place = next(number for number, one in enumerate(parent.expressions) if one is child)
            yield from reversed(parent.expressions[:place])
            child = parent.parent or parent  # the query that the WITH belongs to, whose others come later
            parent = child.parent
            continue
        of_this = parent.args.get("with_")
        if of_this is not None:
            yield from reversed(of_this.expressions)
        child, parent = parent, parent.parent


def _rename(table: exp.Table, name: str) -> None:
    if table.args.get("alias") is None:
        table.set("alias", exp.TableAlias(this=table.this.copy()))
    table.set("this", exp.to_identifier(name, quoted=True))
    table.set("db", None)


# --- Columns ---------------------------------------------------------------------------------------------------------


def _check_columns(tree: exp.Query, of: Mapping[str, Mapped]) -> None:
    """Refuse more columns than can be told apart in reasonable time: a `*` may stand for those of every table."""
    selects = list(tree.find_all(exp.Select))
    every = sum(len(of[one.name].fields) for one in tree.find_all(exp.Table) if one.name in of)
    columns = sum(every if one.is_star else 1 for select in selects for one in select.expressions)
    using = sum(len(join.args.get("using") or ()) for join in tree.find_all(exp.Join))
    if using > _MOST_TABLES or columns > _MOST_COLUMNS or len(selects) > _MOST_SELECTS:
        raise errors.InvalidArguments(
            f"A query may select {_MOST_COLUMNS} columns in {_MOST_SELECTS} SELECTs; name the columns that you need."
        )


def _name_columns(tree: exp.Query) -> None:
    """Name every column of a result that has no name of its own."""
    for select in tree.find_all(exp.Select):
        taken = {one.alias_or_name for one in select.expressions}
        for place, one in enumerate(list(select.expressions), 1):
            if isinstance(one, exp.Column | exp.Alias | exp.Star) or (isinstance(one, exp.Subquery) and one.alias):
                continue
            base = one.name.lower() if isinstance(one, exp.Anonymous) else type(one).key
            base = base if isinstance(one, exp.Func) else "column"
            name = base if base not in taken else f"{base}_{place}"
            taken.add(name)
            one.replace(exp.alias_(one.copy(), name, quoted=True))


def _qualified(tree: exp.Query, of: Mapping[str, Mapped], dialect: str) -> exp.Query:
    """Return the query with each column's table named and each `*` written out."""
    known: dict[str, object] = {
        name: {mapped.written(column): "TEXT" for column in mapped.fields} for name, mapped in of.items()
    }
    try:
        found = qualify(
            tree,
            schema=MappingSchema(known or {"t": {"c": "TEXT"}}, dialect=dialect, normalize=False),
            dialect=dialect,
        )
    except OptimizeError as error:
        unresolved = _UNRESOLVED.search(str(error))
        name = f" {unresolved[1]!r}" if unresolved else ""
        raise errors.InvalidArguments(
            f"A column{name} cannot be found, or could be of several tables; name it as table.column."
        ) from None
    except (SqlglotError, RecursionError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise errors.InvalidArguments("The query cannot be understood.") from None
    if any(not isinstance(star.parent, exp.Count) for star in found.find_all(exp.Star)):
        raise errors.InvalidArguments("'*' stands for columns that cannot be told; name them.")
    return found


def _check_names(tree: exp.Query, of: Mapping[str, Mapped]) -> None:
    known = {mapped.written(one) for mapped in of.values() for one in (mapped.table.name, *mapped.fields)}
    for identifier in tree.find_all(exp.Identifier):
        if identifier.name not in known and _NAME.fullmatch(identifier.name) is None:
            raise errors.InvalidArguments("Names are made of letters, digits and '_', 63 at most.")


def _touched(tree: exp.Query, of: Mapping[str, Mapped]) -> dict[str, frozenset[str]]:
    """Return the columns that are named of every mapped table."""
    found: dict[str, set[str]] = {of[one.name].resource: set() for one in tree.find_all(exp.Table) if one.name in of}
    real = {name: {mapped.written(column): column for column in mapped.fields} for name, mapped in of.items()}
    for scope in traverse_scope(tree):
        for column in scope.columns:
            source = scope.sources.get(column.table)
            if isinstance(source, exp.Table) and source.name in of and column.name in real[source.name]:
                found[of[source.name].resource].add(real[source.name][column.name])
    return {resource: frozenset(columns) for resource, columns in found.items()}


def _result_names(tree: exp.Query, of: Mapping[str, Mapped]) -> list[str]:
    """Return the names of the result's columns, those of SQLite's in the spelling of their table."""
    spelling = {mapped.written(column): column for mapped in of.values() for column in mapped.fields}
    names = [spelling.get(name, name) for name in tree.named_selects]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise errors.InvalidArguments(f"Two columns of the result are called {twice!r}; give one another name with AS.")
    return names


def _uses(tree: exp.Query, of: Mapping[str, Mapped]) -> dict[str, int]:
    """Count how often each table's rows come in, a WITH query's as often as it is used."""
    references: dict[str, list[exp.Table]] = {}
    for table in tree.find_all(exp.Table):
        references.setdefault(table.name, []).append(table)
    counted: dict[str, int] = {}

    def times(table: exp.Table) -> int:
        cte = table.find_ancestor(exp.CTE)
        if cte is None:
            return 1
        if cte.alias not in counted:
            counted[cte.alias] = sum(times(one) for one in references.get(cte.alias, ()))
        return counted[cte.alias]

    uses: dict[str, int] = {}
    for name, found in references.items():
        if name in of:
            resource = of[name].resource
            uses[resource] = uses.get(resource, 0) + sum(map(times, found))
    return uses
