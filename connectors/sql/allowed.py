"""What a free query may consist of: kinds of expressions, functions and types. What is not named here is refused."""

from sqlglot import exp

STRUCTURE: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(
        {"expressions", "distinct", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "with_"}
    ),
    exp.Union: frozenset({"this", "expression", "distinct", "order", "limit", "offset", "with_"}),
    exp.Except: frozenset({"this", "expression", "distinct", "order", "limit", "offset", "with_"}),
    exp.Intersect: frozenset({"this", "expression", "distinct", "order", "limit", "offset", "with_"}),
    exp.Subquery: frozenset({"this", "alias"}),
    exp.With: frozenset({"expressions"}),
    exp.CTE: frozenset({"this", "alias"}),
    exp.TableAlias: frozenset({"this", "columns"}),
    exp.Table: frozenset({"this", "db", "alias"}),
    exp.From: frozenset({"this"}),
    exp.Join: frozenset({"this", "on", "using", "side", "kind"}),
    exp.Where: frozenset({"this"}),
    exp.Group: frozenset({"expressions"}),
    exp.Having: frozenset({"this"}),
    exp.Order: frozenset({"this", "expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
    exp.Distinct: frozenset({"expressions", "on"}),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.DataType: frozenset({"this", "expressions"}),
    exp.DataTypeParam: frozenset({"this"}),
    exp.Window: frozenset({"this", "partition_by", "order", "spec", "over"}),
    exp.WindowSpec: frozenset({"kind", "start", "start_side", "end", "end_side"}),
    exp.Filter: frozenset({"this", "expression"}),
    exp.Extract: frozenset({"this", "expression"}),
    exp.Interval: frozenset({"this", "unit"}),
}
"""What holds a query together, and which parts of each are understood."""

EXPRESSIONS: frozenset[type[exp.Expr]] = frozenset(
    {exp.And, exp.Or, exp.Not, exp.Paren, exp.Tuple, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In}
    | {exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.Like, exp.ILike, exp.Escape, exp.Exists, exp.Any}
    | {exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe, exp.Case, exp.If, exp.Coalesce, exp.Nullif}
    | {exp.Literal, exp.Boolean, exp.Null, exp.Star, exp.Var, exp.CurrentDate, exp.CurrentTimestamp}
    | {exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Stddev, exp.Variance, exp.LogicalAnd, exp.LogicalOr}
    | {exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue}
    | {exp.Lower, exp.Upper, exp.Length, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.StrPosition, exp.Concat}
    | {exp.Abs, exp.Round, exp.Ceil, exp.Floor, exp.Pow, exp.Sqrt, exp.Sign, exp.Greatest, exp.Least}
    | {exp.TimestampTrunc, exp.GroupConcat, exp.ArrayAgg}
)

COLLECTING: frozenset[type[exp.Expr]] = frozenset(
    {exp.GroupConcat, exp.ArrayAgg, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue}
)
"""What brings several rows' values into one: not where a policy says how many records may leave."""

FUNCTIONS: dict[str, frozenset[str]] = {
    "postgres": frozenset({"age", "split_part", "initcap"}),
    "sqlite": frozenset({"date", "time", "datetime", "julianday", "total"}),
}
"""Functions that the parser has no name of its own for, by dialect; each is a pure function of its arguments."""

SQLITE_FUNCTIONS = frozenset(
    {"like", "count", "sum", "total", "avg", "min", "max", "group_concat", "lower", "upper", "length", "trim"}
    | {"ltrim", "rtrim", "substr", "substring", "instr", "coalesce", "ifnull", "nullif", "iif", "abs", "round", "ceil"}
    | {
        "ceiling",
        "floor",
        "power",
        "pow",
        "sqrt",
        "sign",
        "date",
        "time",
        "datetime",
        "julianday",
        "concat",
        "row_number",
        "rank",
    }
    | {"dense_rank", "ntile", "lag", "lead", "first_value", "last_value", "current_date", "current_timestamp"}
)
"""What SQLite is told that a statement may call."""

UNITS = frozenset(
    {"YEAR", "YEARS", "QUARTER", "MONTH", "MONTHS", "WEEK", "WEEKS", "DAY", "DAYS", "HOUR", "HOURS", "MINUTE"}
    | {"MINUTES", "SECOND", "SECONDS", "DOW", "DOY", "ISODOW", "ISOYEAR", "EPOCH", "CENTURY", "DECADE"}
)

TYPES = frozenset(
    {exp.DataType.Type.INT, exp.DataType.Type.BIGINT, exp.DataType.Type.SMALLINT, exp.DataType.Type.DECIMAL}
    | {exp.DataType.Type.FLOAT, exp.DataType.Type.DOUBLE, exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR}
    | {exp.DataType.Type.DATE, exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ, exp.DataType.Type.BOOLEAN}
    | {exp.DataType.Type.UUID}
)
