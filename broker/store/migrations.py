"""How the store's tables came to be: each step is applied once, in this order, and never changed again."""

from typing import Any

from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("broker")


@MIGRATIONS()
def trail(database: Any) -> None:
    """Make room for records, the stored nodes of their tree, and calls that are decided and not finished."""
    database["records"].create({"seq": int, "body": bytes, "hash": bytes, "call_id": str}, pk="seq")
    database["records"].create_index(["call_id"], index_name="records_by_call")
    database["nodes"].create({"level": int, "position": int, "hash": bytes}, pk=("level", "position"))
    database["open_calls"].create({"call_id": str, "decided": str}, pk="call_id")


@MIGRATIONS()
def vault(database: Any) -> None:
    """Make room for sealed grants, and the few values that belong to the store itself."""
    database["grants"].create(
        {
            "id": str,
            "connector": str,
            "principal": str,
            "kind": str,
            "status": str,
            "scopes": str,
            "public": str,
            "version": int,
            "key_id": str,
            "sealed": str,
            "created": str,
            "changed": str,
        },
        pk="id",
        not_null={"connector", "principal", "kind", "status", "version", "key_id", "sealed"},
    )
    database["grants"].create_index(["connector", "principal"])
    database["settings"].create({"name": str, "value": str}, pk="name")


@MIGRATIONS()
def signing(database: Any) -> None:
    """Make room for the keys that sign the trail's heads, sealed."""
    database["signing_keys"].create(
        {"number": int, "vkey": str, "endorsement": str, "sealed": str, "created": str},
        pk="number",
        not_null={"vkey", "sealed", "created"},
    )


@MIGRATIONS()
def payloads_and_holds(database: Any) -> None:
    """Make room for what policies have recorded encrypted, and for the holds that keep it from being erased."""
    database["payloads"].create(
        {"call_id": str, "field": str, "sealed": bytes, "created": str},
        pk=("call_id", "field"),
        not_null={"sealed", "created"},
    )
    database["holds"].create(
        {"id": str, "name": str, "filter": str, "reason": str, "created": str, "released": str},
        pk="id",
        not_null={"name", "filter", "reason", "created"},
    )
    database["holds"].create_index(["name"], unique=True)


@MIGRATIONS()
def history(database: Any) -> None:
    """Make room for the sets of documents that came into force, and for what stood in their files."""
    database["document_files"].create({"sha256": str, "content": bytes}, pk="sha256", not_null={"content"})
    database["document_sets"].create(
        {
            "seq": int,
            "record": str,
            "kind": str,
            "time": str,
            "digest": str,
            "files": str,
            "outline": str,
            "agents": str,
            "facts": str,
        },
        pk="seq",
        not_null={"digest", "files"},
    )
    database["document_sets"].create_index(["digest"], index_name="sets_by_digest")


@MIGRATIONS()
def suspensions(database: Any) -> None:
    """Make room for whom operators have cut off."""
    database["suspensions"].create(
        {
            "id": str,
            "scope": str,
            "subject": str,
            "name": str,
            "workloads": str,
            "reason": str,
            "actor": str,
            "created": str,
            "lifted": str,
        },
        pk="id",
        not_null={"scope", "subject", "workloads", "reason", "actor", "created"},
    )


@MIGRATIONS()
def approvals(database: Any) -> None:
    """Make room for what people are asked to approve."""
    text = "id, status, workload, agent, owner, tool, resource, action, digest, basis, roles, call_id, created, expires"
    database["approvals"].create(
        {
            **dict.fromkeys(text.split(", "), str),
            "exclude_owner": int,
            "minutes": int,
            "actor": str,
            "reason": str,
            "consumed_by": str,
            "sealed": bytes,
        },
        pk="id",
        not_null={*text.split(", "), "exclude_owner", "minutes"},
    )
    database["approvals"].create_index(["created"], index_name="approvals_by_time")


@MIGRATIONS()
def grant_life_cycle(database: Any) -> None:
    """Make room for what a crash must not lose of a refresh: that it had begun."""
    database["grants"].add_column("refreshing", int, not_null_default=0)


@MIGRATIONS()
def limits(database: Any) -> None:
    """Make room for how many calls each limit of a policy has counted."""
    database["limit_counts"].create(
        {"workload": str, "key": str, "per": str, "start": int, "calls": int},
        pk=("workload", "key", "per"),
        not_null={"start", "calls"},
    )


@MIGRATIONS()
def access_keys(database: Any) -> None:
    """Make room for the hashes of access keys."""
    database["access_keys"].create(
        {
            "id": str,
            "workload": str,
            "hash": str,
            "label": str,
            "created": str,
            "created_by": str,
            "expires": str,
            "revoked": str,
        },
        pk="id",
        not_null={"workload", "hash", "created", "created_by", "expires"},
    )


@MIGRATIONS()
def used_assertions(database: Any) -> None:
    """Make room for the assertions that were used, until they expire."""
    database["used_assertions"].create({"issuer": str, "id": str, "expires": float}, pk=("issuer", "id"))


@MIGRATIONS()
def budgets(database: Any) -> None:
    """Make room for what models have cost: windows, holds, raises, and alerts that are to be announced."""
    database["budget_windows"].create(
        {"key": str, "start": int, "ends": int, "spent": int, "held": int, "alerted": int},
        pk=("key", "start"),
        not_null={"ends", "spent", "held", "alerted"},
    )
    text = "id, call_id, state, workload, agent, team, owner, route, provider, model, windows"
    counts = "attempt, amount, tokens, admitted"
    later = "cost, settled, input_tokens, output_tokens, cache_read, cache_write, reasoning, overrun, acknowledged"
    database["budget_holds"].create(
        {
            **dict.fromkeys(text.split(", "), str),
            **dict.fromkeys(f"{counts}, {later}".split(", "), int),
            "source": str,
        },
        pk="id",
        not_null={*text.split(", "), *counts.split(", ")},
    )
    database["budget_holds"].create_index(["admitted"], index_name="holds_by_time")
    live = "CREATE INDEX holds_live ON budget_holds (state) WHERE state IN ('reserved', 'dispatched')"
    database.execute(live)
    overrun = "CREATE INDEX holds_overrun ON budget_holds (provider, model) WHERE overrun > 0 AND acknowledged IS NULL"
    database.execute(overrun)
    database["budget_raises"].create(
        {
            **dict.fromkeys(("id", "whose", "name", "period", "reason", "actor"), str),
            **dict.fromkeys(("amount", "until", "created"), int),
        },
        pk="id",
    )
    database["budget_news"].create({"id": str, "webhook": str, "said": str}, pk="id")


@MIGRATIONS()
def holds_by_whose(database: Any) -> None:
    """Have the holds of a call, and those of somebody since a moment, found without looking at all others."""
    database["budget_holds"].create_index(["call_id"], index_name="holds_by_call")
    for whose in ("workload", "team", "owner"):
        database["budget_holds"].create_index([whose, "admitted"], index_name=f"holds_by_{whose}")


@MIGRATIONS()
def budget_lookups(database: Any) -> None:
    """Make room for what providers are still to be asked: what a call has cost that counts at its bound."""
    database["budget_lookups"].create(
        {
            **dict.fromkeys(("hold", "call_id", "connector", "account", "generation"), str),
            **dict.fromkeys(("due", "tries", "said"), int),
        },
        pk="hold",
        not_null={"call_id", "connector", "account", "generation", "tries"},
    )
    database["budget_lookups"].create_index(["connector", "generation"], unique=True, index_name="lookups_by_id")
    database["budget_lookups"].create_index(["call_id"], index_name="lookups_by_call")
    database.execute("CREATE INDEX lookups_due ON budget_lookups (due) WHERE due IS NOT NULL")
