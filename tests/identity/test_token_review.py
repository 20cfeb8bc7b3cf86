import json
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from broker.egress import Egress, Limits, Reach
from broker.errors import AgentBarred, ProofExpired, ProofForAnotherAudience, ProofUntrusted
from broker.identity import FederatedVerifier, ReviewServer, TokenReviews, TrustStore, WorkloadIdentity, parse_key_set
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from tests.support.issuers import ISSUER, POD, issuer, key_set, rule
from tests.support.low_issuer import AUDIENCE, NOW, WORKLOAD, claims, key, token
from tests.support.low_upstream import Exchange, Upstream, serving

pytestmark = pytest.mark.anyio

OWN = "the-brokers-own-token"
RULE = rule(claims={"sub": POD["sub"], "kubernetes.io": {"serviceaccount": {"name": "analyst"}}})


def pod_token(**changes: Any) -> str:
    """Return a projected token of the analyst's pod, as the kubelet writes it into the pod."""
    return token(payload=claims(iss=ISSUER, **{**POD, **changes}))


class ApiServer:
    """A Kubernetes API server: knows tokens of pods that live, and their audiences unless it is an old one."""

    def __init__(self) -> None:
        self.live: dict[str, str] = {}
        self.knows_audiences = True
        self.status = 201
        self.reviews: list[Any] = []
        self.credentials: list[str] = []

    async def script(self, exchange: Exchange) -> None:
        """Answer one TokenReview."""
        assert (exchange.method, exchange.target) == ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
        review = json.loads(exchange.body)
        self.reviews.append(review["spec"])
        self.credentials.append(exchange.headers["authorization"])
        username = self.live.get(review["spec"]["token"])
        status: dict[str, Any] = {"authenticated": username is not None}
        if username is not None:
            status["user"] = {"username": username, "groups": ["system:serviceaccounts"]}
            if self.knows_audiences:
                status["audiences"] = review["spec"]["audiences"]
        await exchange.answer(self.status, json.dumps({**review, "status": status}).encode())


class Cluster:
    """A cluster whose tokens are taken once its API server has vouched for them."""

    def __init__(self, upstream: Upstream, egress: Egress, trust: str, token_file: Path, **spec: Any) -> None:
        reach = Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),))
        client = egress.client(reach, Limits(connect_seconds=1, total_seconds=2), trust)
        self.issuer = issuer(RULE, is_reviewed=True, **{"has_keys": False, **spec})
        self.keys = TrustStore()
        self.keys.put(parse_key_set(ISSUER, key_set()))
        self.now = float(NOW)
        self._verifier = FederatedVerifier(lambda: {ISSUER: self.issuer}, self.keys)
        servers = {ISSUER: ReviewServer(upstream.url, token_file, client)}
        self._reviews = TokenReviews(self._verifier, lambda: servers, lambda: self.now)

    async def identify(self, text: str) -> WorkloadIdentity:
        """Identify whoever sends a token, as the entrance does."""
        await self._reviews.ask(text)
        return self._verifier.verify(text, self.issuer, self.now)


MakeCluster = Callable[..., Cluster]


@pytest.fixture
async def server(certificate: ServerCertificate) -> AsyncIterator[tuple[ApiServer, Upstream]]:
    """Serve an API server."""
    api = ApiServer()
    async with serving(certificate, api.script) as upstream:
        yield api, upstream


@pytest.fixture
async def cluster(
    server: tuple[ApiServer, Upstream], authority: CertificateAuthority, egress: Egress, tmp_path: Path
) -> MakeCluster:
    """Make clusters on that server."""
    token_file = tmp_path / "token"
    token_file.write_text(OWN + "\n")

    def make(**spec: Any) -> Cluster:
        return Cluster(server[1], egress, authority.certificate_file.read_text(), token_file, **spec)

    return make


async def test_a_pods_token_is_its_agent_once_the_api_server_vouches_for_it(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster
) -> None:
    """Issue 4: TokenReview with our audience asked for and checked in the answer; asked once in ten seconds."""
    api, made, text = server[0], cluster(), pod_token()
    api.live[text] = POD["sub"]

    identity = await made.identify(text)

    assert await made.identify(text) is identity
    assert (identity.spiffe_id, identity.method, identity.assurance) == (WORKLOAD, "token-review", "federated")
    assert (identity.subject, identity.key_id) == (POD["sub"], None)
    assert api.reviews == [{"token": text, "audiences": [AUDIENCE]}]
    assert api.credentials == [f"Bearer {OWN}"]


async def test_an_api_server_that_checks_no_audience_fools_nobody(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster
) -> None:
    """identity.md A6: check that `status.audiences` contains ours; an old server vouches for any token."""
    api, made, text = server[0], cluster(), pod_token()
    api.live[text], api.knows_audiences = POD["sub"], False

    with pytest.raises(ProofUntrusted):
        await made.identify(text)


async def test_the_token_of_a_pod_that_is_gone_is_refused_within_seconds(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster
) -> None:
    """identity.md A6: TokenReview also dies with the pod, which a signature does not."""
    api, made, text = server[0], cluster(), pod_token()
    api.live[text] = POD["sub"]
    assert (await made.identify(text)).spiffe_id == WORKLOAD

    del api.live[text]
    made.now += 11

    with pytest.raises(ProofUntrusted):
        await made.identify(text)


async def test_a_token_that_is_wrong_in_itself_costs_the_api_server_nothing(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster
) -> None:
    """Whoever sends garbage must not reach further than the door; with keys, nor who sends what nobody has signed."""
    with pytest.raises(ProofForAnotherAudience):
        await cluster().identify(pod_token(aud="x"))
    with pytest.raises(ProofExpired):
        await cluster().identify(pod_token(exp=NOW - 1))
    forged = token(payload=claims(iss=ISSUER, **POD), signer=key("P-256", "2"))
    with pytest.raises(ProofUntrusted):
        await cluster(has_keys=True).identify(forged)

    assert server[0].reviews == []


async def test_the_token_must_be_of_whom_the_server_says(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster
) -> None:
    """What a token claims counts only because the server vouches for it, and for that subject."""
    made, text = cluster(), pod_token()
    server[0].live[text] = "system:serviceaccount:agents:another"

    with pytest.raises(ProofUntrusted):
        await made.identify(text)


async def test_of_a_genuine_token_that_no_rule_means_nobody_is_the_agent(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster
) -> None:
    """The server says whose it is; the rules say whom that stands for."""
    other = "system:serviceaccount:agents:another"
    made, text = cluster(), pod_token(sub=other)
    server[0].live[text] = other

    with pytest.raises(AgentBarred):
        await made.identify(text)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_server_that_cannot_be_asked_vouches_for_nobody(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster, status: int
) -> None:
    """Fail closed; and the refusal says what is wrong to the operator only, without either token."""
    made, text = cluster(), pod_token()
    server[0].live[text], server[0].status = POD["sub"], status

    with pytest.raises(ProofUntrusted) as refused:
        await made.identify(text)

    assert str(status) in str(refused.value.detail)
    assert text not in repr(refused.value.detail)
    assert OWN not in repr(refused.value.detail)


async def test_without_the_brokers_own_token_nobody_is_asked(
    server: tuple[ApiServer, Upstream], cluster: MakeCluster, tmp_path: Path
) -> None:
    """It is read each time, since the kubelet rotates it; a file that is missing is said to the operator."""
    made, text = cluster(), pod_token()
    server[0].live[text] = POD["sub"]
    (tmp_path / "token").unlink()

    with pytest.raises(ProofUntrusted):
        await made.identify(text)

    (tmp_path / "token").write_text("another")
    assert (await made.identify(text)).spiffe_id == WORKLOAD
    assert server[0].credentials == ["Bearer another"]


async def test_a_door_that_does_not_ask_lets_nobody_in(cluster: MakeCluster) -> None:
    """A token that must be reviewed and was not is refused, whatever signed it."""
    made = cluster(has_keys=True)

    with pytest.raises(ProofUntrusted):
        made._verifier.verify(pod_token(), made.issuer, NOW)
