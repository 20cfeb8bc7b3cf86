"""Whose tokens are believed: trust domains, where their bundles come from, and what may be trusted to fetch them."""

import ipaddress
import re
import ssl

from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.documents.snapshot import TrustSource
from broker.documents.source import Place
from broker.egress import Reach
from broker.errors import EgressDenied
from broker.identity import BundleServer, Endpoint, SpiffeId, TrustBundle, TrustDomain, parse_bundle
from broker.identity.registry import BundleSource
from broker.identity.workload_messages import EXTRA, is_installed

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def check_trust(findings: Findings) -> tuple[dict[str, TrustDomain], dict[str, TrustSource]]:
    """Return the trust domains, and where the bundle of each comes from that has one."""
    domains, sources = {}, {}
    for document in findings.of("TrustDomain"):
        spec = document.spec
        domains[document.name] = TrustDomain(
            document.name, spec.environment, spec.development, float(spec.longest_lifetime_seconds)
        )
        if "." not in document.name and not spec.development:
            findings.warn(
                document,
                ("metadata", "name"),
                "a trust domain without a dot collides with others' and can then never be federated (SPIFFE-ID §2.1.1)",
            )
        if spec.bundle is not None:
            sources[document.name] = _source(findings, document, spec.bundle)
    return domains, sources


def _source(findings: Findings, document: Document, source: BundleSource) -> TrustSource:
    place = ("spec", "bundle")
    private = networks(findings, document, (*place, "private_ranges"), source.private_ranges)
    authority = certificate_authority(
        findings, document, (*place, "certificate_authority"), source.certificate_authority
    )
    if source.url is not None:
        check_url(findings, document, (*place, "url"), source.url, Reach(frozenset({origin(source.url)}), private))
    if source.workload_api is not None and not is_installed():
        findings.wrong(document, (*place, "workload_api"), f"needs gRPC: install {EXTRA!r}")
    return TrustSource(
        _bundle(findings, document, (*place, "file"), document.name, source.file),
        source.url,
        authority,
        private,
        source.stale_after_hours * 3600,
        _server(findings, document, source),
        None if source.workload_api is None else Endpoint.parse(source.workload_api),
    )


def _server(findings: Findings, document: Document, source: BundleSource) -> BundleServer | None:
    """Return who answers at an `https_spiffe` URL."""
    if source.endpoint is None:
        return None
    place = ("spec", "bundle", "bootstrap")
    own = SpiffeId.parse(source.endpoint).trust_domain
    bootstrap = _bundle(findings, document, place, own, source.bootstrap)
    if bootstrap is not None and not bootstrap.authorities:
        findings.wrong(document, place, f"{source.bootstrap} has no X.509 authority, so nobody could answer")
    return None if bootstrap is None else BundleServer(source.endpoint, bootstrap.authorities)


def _bundle(
    findings: Findings, document: Document, place: Place, trust_domain: str, name: str | None
) -> TrustBundle | None:
    text = None if name is None else findings.named(document, place, name)
    if text is None:
        return None
    try:
        bundle = parse_bundle(trust_domain, text)
    except ValueError as error:
        findings.wrong(document, place, f"{name} is {error}")
        return None
    if not bundle.keys and not bundle.authorities:
        findings.warn(document, place, f"no key in {name} is usable: every identity of the domain is revoked")
    return bundle


def certificate_authority(findings: Findings, document: Document, place: Place, name: str | None) -> str | None:
    """Return the certificates of a PEM file, checked as egress will load them; what else is in the file is left out."""
    text = None if name is None else findings.named(document, place, name)
    if text is None:
        return None
    certificates = b"\n".join(_CERTIFICATE.findall(text)).decode()
    try:
        ssl.create_default_context(cadata=certificates or None)
    except (ssl.SSLError, ValueError):
        certificates = ""
    if not certificates:
        findings.wrong(document, place, f"{name} holds no certificate in PEM form that can be read")
        return None
    return certificates


def networks(findings: Findings, document: Document, place: Place, ranges: list[str]) -> tuple[Network, ...]:
    """Return address ranges."""
    found = []
    for number, text in enumerate(ranges):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            findings.wrong(document, (*place, number), str(error))
    return tuple(found)


def check_url(findings: Findings, document: Document, place: Place, url: str, reach: Reach) -> None:
    """Note a mistake if egress would refuse to call the URL."""
    try:
        reach.check_url(url)
    except EgressDenied as denied:
        findings.wrong(document, place, f"the broker would not call it: {denied.detail}")
    except ValueError:
        findings.wrong(document, place, "is not a URL of a host, with a port up to 65535 if any")


def origin(url: str) -> str:
    """Return the host of a URL, with its port if it names one."""
    return url.partition("://")[2].partition("/")[0].lower()
