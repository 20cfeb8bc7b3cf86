"""What a broker says of itself: to operators, and once when it starts."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import broker
from broker.app.options import Serving
from broker.app.parts import Parts


def status(parts: Parts) -> Mapping[str, Any]:
    """Return what operators may know of the running broker."""
    documents = parts.documents.current
    head = parts.store.commits.values[parts.store.trail.HEAD]
    problem = parts.documents.last_problem
    now = time.time()
    return {
        "version": broker.__version__,
        "pid": os.getpid(),
        "uptime_seconds": int(now - parts.started),
        "development": parts.options.development,
        "trouble": parts.trouble(),
        "hindrances": dict(parts.recorder.hindrances),
        "running_calls": parts.slots.running,
        "unfinished_calls_found_at_start": parts.unfinished,
        "audience": documents.broker.audience,
        "documents": {
            "directory": str(documents.directory.resolve()),
            "digest": documents.digest,
            "files": len(documents.files),
            "warnings": [str(warning) for warning in documents.warnings],
            "problems": [str(one) for one in problem.problems] if problem else [],
        },
        "trail": {
            "log": parts.store.trail.log,
            "records": head.size,
            "root": head.root().hex(),
            **parts.heads.status(),
        },
        "search_index": parts.indexer.lag(),
        "agents": len(documents.registry.agents),
        "approvals_waiting": parts.approvals.waiting,
        "suspensions": sum(1 for _ in parts.switch.in_force),
        "tools": sum(1 for _ in documents.catalog),
        "tools_built": sum(tool.tool.run is not None for tool in documents.catalog),
        "connectors": sorted(documents.connections),
        "resilience": {
            name: standing
            for name, connection in sorted(documents.connections.items())
            if (standing := parts.pipeline.resilience.status(connection)) is not None
        },
        "grants": {grant.connector: grant.status for grant in parts.vault.grants() if grant.status != "revoked"},
        "trust_domains": {
            name: {
                "development": domain.development,
                "environment": domain.environment,
                "takes_svids": name in documents.trust_sources,
                "keys": len(bundle.keys) if (bundle := parts.trust.find(name)) else None,
                "authorities": len(bundle.authorities) if bundle else None,
                "stale": parts.trust.is_stale(name, now),
                "age_seconds": int(now - bundle.fetched_at) if bundle and bundle.fetched_at else None,
            }
            for name, domain in documents.trust_domains.items()
        },
        "issuers": {
            issuer.name: {
                "issuer": url,
                "environment": issuer.environment,
                "asks_api_server": issuer.is_reviewed,
                "needs_keys": issuer.has_keys,
                "keys": len(held.keys) if (held := parts.federation.keys.find(url)) else None,
                "age_seconds": int(now - held.fetched_at) if held and held.fetched_at else None,
            }
            for url, issuer in documents.issuers.items()
        },
        "access_keys": sum(row.revoked is None for row in parts.access_keys.all()),
    }


def serving(
    parts: Parts, http: str, agents_socket: Path, operators_socket: Path, proxy: str | None, metrics: str | None
) -> Serving:
    """Return what is said once every door is open."""
    return Serving(
        http=http,
        agents_socket=agents_socket.absolute(),
        operators_socket=operators_socket.absolute(),
        proxy=proxy,
        documents=parts.documents.current,
        development=parts.options.development,
        records=parts.store.commits.values[parts.store.trail.HEAD].size,
        unfinished=parts.unfinished,
        grants={grant.connector: grant.status for grant in parts.vault.grants() if grant.status != "revoked"},
        metrics=metrics,
    )
