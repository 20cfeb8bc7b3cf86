"""Whose tokens are believed besides the trust domains', how their keys are found, and whom they stand for."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.documents.snapshot import IssuerSource, Server
from broker.documents.source import Place
from broker.documents.trust import certificate_authority, check_url, networks, origin
from broker.documents.words import nearest
from broker.egress import Reach
from broker.identity import Agent, Issuer, IssuerDocument, Registry, TrustBundle, parse_key_set
from broker.identity.issuer import AgentRule, KeySource, Rule, TokenReviewPart, equalities_of

_NAMES_OF_CLIENTS = frozenset({"azp", "client_id", "cid", "appid"})


def check_issuers(
    findings: Findings, registry: Registry, broker: Document | None, directory: Path
) -> tuple[dict[str, Issuer], dict[str, IssuerSource]]:
    """Return the issuers and where their keys come from, both by the issuers' URLs."""
    issuers: dict[str, Issuer] = {}
    sources: dict[str, IssuerSource] = {}
    base = directory if broker is None else (directory / broker.source.file).parent
    for document in findings.of("Issuer"):
        spec: IssuerDocument = document.spec
        if spec.issuer in issuers:
            findings.wrong(document, ("spec", "issuer"), f"is configured already, as {issuers[spec.issuer].name!r}")
            continue
        issuers[spec.issuer] = Issuer(
            document.name,
            spec.issuer,
            spec.environment,
            spec.audience or (broker.spec.audience if broker else ""),
            tuple(_rules(findings, document, registry)),
            float(spec.longest_lifetime_seconds),
            tuple(spec.required_scopes),
            spec.trust_emails,
            spec.id_jag,
            has_keys=spec.keys is not None or spec.token_review is None,
            is_reviewed=spec.token_review is not None,
        )
        sources[spec.issuer] = _source(findings, document, spec, base)
    return issuers, sources


def _rules(findings: Findings, document: Document, registry: Registry) -> Iterable[Rule]:
    spec: IssuerDocument = document.spec
    agents = {agent.name: agent for agent in registry.agents.values()}
    if not spec.agents:
        findings.warn(document, ("spec",), "without a rule under 'agents', its tokens stand for nobody")
    seen: list[tuple[int, Rule]] = []
    for number, written in enumerate(spec.agents):
        agent = _agent(findings, document, ("spec", "agents", number), written, agents)
        _speaks_for_itself(findings, document, ("spec", "agents", number), written)
        rule = Rule(agent.workload if agent else "", equalities_of(written), written.client, written.actor)
        for other_number, other in seen:
            if rule.includes(other) or other.includes(rule):
                findings.wrong(
                    document,
                    ("spec", "agents", number),
                    f"every token that the narrower of this rule and agents[{other_number}] fits is fitted by both, and"
                    " would be refused: name a claim in which they differ",
                )
        seen.append((number, rule))
        yield rule


def _agent(
    findings: Findings, document: Document, place: Place, written: AgentRule, agents: Mapping[str, Agent]
) -> Agent | None:
    agent = agents.get(written.agent)
    if agent is None:
        if not findings.mistaken("Agent", "metadata", "name", value=written.agent):
            words = f"there is no Agent {written.agent!r}{nearest(written.agent, agents)}"
            findings.wrong(document, (*place, "agent"), words)
    elif agent.environment != document.spec.environment:
        findings.wrong(
            document,
            (*place, "agent"),
            f"agent {agent.name!r} is of {agent.environment!r}, but this issuer's tokens are of"
            f" {document.spec.environment!r}",
        )
    return agent


def _speaks_for_itself(findings: Findings, document: Document, place: Place, written: AgentRule) -> None:
    """Warn of a rule by which any person's token for a client would count as the agent's own."""
    if written.client is None and written.actor is None and "sub" not in written.claims:
        for name in sorted(_NAMES_OF_CLIENTS & written.claims.keys()):
            findings.warn(
                document,
                (*place, "claims", name),
                "a person's token for this client would count as the agent's own: write it as 'client', or name its"
                " 'sub' too",
            )


def _source(findings: Findings, document: Document, spec: IssuerDocument, base: Path) -> IssuerSource:
    source = spec.keys or (KeySource() if spec.token_review is None else None)
    review = spec.token_review
    return IssuerSource(
        keys=None if source is None else _key_file(findings, document, source),
        key_server=None if source is None or source.file is not None else _key_server(findings, document, source),
        key_url=None if source is None else source.url,
        stale_after=24 * 3600.0 if source is None else source.stale_after_hours * 3600,
        review_server=None if review is None else _review_server(findings, document, review),
        token_file=None if review is None else base / review.token_file,
    )


def _key_server(findings: Findings, document: Document, source: KeySource) -> Server:
    place = ("spec", "keys")
    url = source.url or document.spec.issuer
    hosts = frozenset({origin(url), *source.hosts})
    private = networks(findings, document, (*place, "private_ranges"), source.private_ranges)
    authority = certificate_authority(
        findings, document, (*place, "certificate_authority"), source.certificate_authority
    )
    where = ("spec", "issuer") if source.url is None else (*place, "url")
    check_url(findings, document, where, url, Reach(hosts, private))
    return Server(document.spec.issuer, hosts, authority, private)


def _review_server(findings: Findings, document: Document, review: TokenReviewPart) -> Server:
    place = ("spec", "token_review")
    private = networks(findings, document, (*place, "private_ranges"), review.private_ranges)
    authority = certificate_authority(
        findings, document, (*place, "certificate_authority"), review.certificate_authority
    )
    hosts = frozenset({origin(review.url)})
    check_url(findings, document, (*place, "url"), review.url, Reach(hosts, private))
    return Server(review.url, hosts, authority, private)


def _key_file(findings: Findings, document: Document, source: KeySource) -> TrustBundle | None:
    place = ("spec", "keys", "file")
    text = None if source.file is None else findings.named(document, place, source.file)
    if text is None:
        return None
    try:
        keys = parse_key_set(document.spec.issuer, text)
    except ValueError as error:
        findings.wrong(document, place, f"{source.file} is {error}")
        return None
    if not keys.keys:
        findings.warn(document, place, f"no key in {source.file} is usable: every token of the issuer is refused")
    return keys
