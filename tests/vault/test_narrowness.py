import pytest

from broker.egress import Secret
from broker.errors import AlreadyExists, ConsentNeeded, GrantMisplaced, GrantUnavailable
from broker.identity import OnBehalfOf
from broker.oauth import ApiKeyGrant, ClientCredentialsGrant, OAuthClient
from broker.testing.salesforce import SalesforceService
from broker.vault import Service, Vault, person
from tests.support.low_salesforce import CONNECTOR, service_of

pytestmark = pytest.mark.anyio

ACTOR = {"user": "ada"}
APP = ClientCredentialsGrant(OAuthClient("app", "client_secret_post", Secret("app-secret-0123")))
JANE = OnBehalfOf("https://idp.example", "jane", "oidc-login")


async def test_a_call_uses_the_narrowest_grant_that_its_tool_needs(vault: Vault, service: Service) -> None:
    """Issue 5: a call uses the narrowest grant that its tool's scopes need; too narrow is not near enough."""
    wide = await vault.add(CONNECTOR, APP, ACTOR, scopes=("read", "write", "admin"))
    narrow = await vault.add(CONNECTOR, APP, ACTOR, scopes=("read",))

    chosen = {needed: vault.open(service, scopes=needed)._row.id for needed in ((), ("read",), ("write",))}

    assert chosen == {(): narrow.id, ("read",): narrow.id, ("write",): wide.id}
    assert vault.open(service, scopes=("write",))._scopes == ("write",)
    with pytest.raises(GrantUnavailable, match="delete"):
        vault.open(service, scopes=("delete",))


async def test_two_grants_of_the_same_scopes_are_one_too_many(vault: Vault) -> None:
    """lessons.md 6: which of two is used is never a matter of order."""
    await vault.add(CONNECTOR, APP, ACTOR, scopes=("write", "read"))

    with pytest.raises(AlreadyExists):
        await vault.add(CONNECTOR, ApiKeyGrant(Secret("key-0123456789")), ACTOR, scopes=("read", "write"))


async def test_whose_grant_is_used_is_the_documents_to_say(
    vault: Vault, salesforce: SalesforceService, service: Service
) -> None:
    """credentials.md B1: the organisation's, the person's, or the person's where there is one; absent means less."""
    await vault.add(CONNECTOR, ApiKeyGrant(Secret("key-0123456789")), ACTOR)
    principal = person(JANE.issuer, JANE.subject)
    hers = await vault.add(CONNECTOR, APP, ACTOR, principal=principal, person=(JANE.issuer, JANE.subject))
    egress_client = service.client

    def opened(accounts: str, delegated: OnBehalfOf | None) -> str:
        place = Service(
            CONNECTOR, salesforce.url, egress_client, service.token_endpoint, "", accounts=accounts,  # type: ignore[arg-type]
        )  # fmt: skip
        return vault.open(place, delegated)._row.principal

    assert opened("organisation", JANE) == opened("organisation", None) == opened("either", None) == "broker"
    assert opened("either", JANE) == opened("person", JANE) == hers.principal
    with pytest.raises(ConsentNeeded):
        opened("person", None)


async def test_a_kind_that_the_document_does_not_take_is_not_used(
    vault: Vault, egress: object, salesforce: SalesforceService
) -> None:
    """Issue 5: connector documents name which grants they take; taking one out takes effect at once."""
    await vault.add(CONNECTOR, ApiKeyGrant(Secret("key-0123456789")), ACTOR)

    with pytest.raises(GrantMisplaced):
        vault.open(service_of(egress, salesforce, kinds=("jwt-bearer",)))  # type: ignore[arg-type]


def test_no_two_people_have_one_principal() -> None:
    """vault: issuer and subject are told apart, wherever one of them ends."""
    pairs = [("https://a.example", "b"), ("https://a.exampleb", ""), ("https://a.example", "B"), ("", "b")]

    assert len({person(*pair) for pair in pairs}) == len(pairs)
