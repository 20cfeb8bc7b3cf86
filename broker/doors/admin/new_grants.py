"""What an operator sends to connect an account: the fields of each kind of grant, checked before anything is kept."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from broker.connector import GrantKind, ScopeName
from broker.egress import Secret
from broker.errors import OperatorRequestInvalid
from broker.oauth import (
    ApiKeyGrant,
    BasicGrant,
    ClientCredentialsGrant,
    ClientMethod,
    Grant,
    IdJagGrant,
    JwtBearerGrant,
    OAuthClient,
    TokenExchangeGrant,
    check_private_key,
)

_SUBJECT_TOKENS = {
    name: f"urn:ietf:params:oauth:token-type:{name}" for name in ("access_token", "refresh_token", "id_token", "jwt")
}
_SHORTEST_SECRET = 8  # characters: a shorter one could not be told from other words in an answer

Text = Annotated[str, Field(min_length=1, max_length=500)]
SecretText = Annotated[str, Field(max_length=20_000)]


class ClientFields(BaseModel):
    """A client as it is registered at an authorization server."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    client_id: Annotated[str, Field(max_length=500)] = ""
    client_auth: ClientMethod | None = None
    client_secret: SecretText | None = None
    private_key: SecretText | None = None

    def client(self) -> OAuthClient:
        """Return the client, with the one secret that its way of authentication takes."""
        method = self.client_auth or _usual(self.private_key, self.client_secret)
        if method != "jwt_spiffe" and not self.client_id:
            raise OperatorRequestInvalid("client_id: a client has an id, unless its JWT-SVID says which it is.")
        text = self.private_key if method == "private_key_jwt" else self.client_secret
        if method in {"none", "jwt_spiffe"}:
            return OAuthClient(self.client_id, method)
        if not text:
            raise OperatorRequestInvalid(f"The client's secret is missing: {method} needs one.")
        if method == "private_key_jwt":
            checked_key(text)
        return OAuthClient(self.client_id, method, Secret(text))


class NewGrant(ClientFields):
    """The body of `POST /v1/grants`."""

    connector: str
    kind: GrantKind = "jwt-bearer"
    scopes: Annotated[list[ScopeName], Field(max_length=100)] = Field(default_factory=list)
    subject: Text | None = None
    key: SecretText | None = None
    username: Text | None = None
    password: SecretText | None = None
    subject_token: SecretText | None = None
    subject_token_type: Literal["access_token", "refresh_token", "id_token", "jwt"] = "access_token"  # noqa: S105
    identity_client: ClientFields | None = None

    @field_validator("username")
    @classmethod
    def _no_colon(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:
            raise ValueError("a user's name has no colon (RFC 7617)")
        return value

    def grant(self) -> Grant:
        """Return the grant; raise `OperatorRequestInvalid`, naming what its kind lacks."""
        match self.kind:
            case "jwt-bearer":
                key = checked_key(self._given("private_key"))
                return JwtBearerGrant(self._given("client_id"), self._given("subject"), key)
            case "client-credentials":
                return ClientCredentialsGrant(self.client())
            case "token-exchange":
                kind = _SUBJECT_TOKENS[self.subject_token_type]
                return TokenExchangeGrant(self.client(), Secret(self._given("subject_token")), kind)
            case "id-jag":
                kind = _SUBJECT_TOKENS[self.subject_token_type]
                identity = (self.identity_client or ClientFields()).client()
                return IdJagGrant(self.client(), identity, Secret(self._given("subject_token")), kind)
            case "api-key":
                return ApiKeyGrant(_long_enough("key", self._given("key")))
            case "basic":
                return BasicGrant(self._given("username"), _long_enough("password", self._given("password")))
            case "authorization-code":
                raise OperatorRequestInvalid("Somebody must consent to this kind: use 'aam grants connect'.")

    def _given(self, name: str) -> str:
        value = getattr(self, name)
        if not value:
            raise OperatorRequestInvalid(f"{name}: a {self.kind} grant needs it.")
        return str(value)


def checked_key(text: str) -> Secret:
    """Return a private key that can sign; raise `OperatorRequestInvalid`."""
    key = Secret(text)
    try:
        check_private_key(key)
    except ValueError as error:
        raise OperatorRequestInvalid(f"The key cannot be used: {error}.") from None
    return key


def _usual(private_key: str | None, client_secret: str | None) -> ClientMethod:
    if private_key:
        return "private_key_jwt"
    return "client_secret_basic" if client_secret else "none"


def _long_enough(name: str, text: str) -> Secret:
    value = text.strip("\r\n")
    if len(value) < _SHORTEST_SECRET or not (value.isascii() and value.isprintable()):
        raise OperatorRequestInvalid(
            f"{name}: {_SHORTEST_SECRET} printable ASCII characters or more are expected, so that it can be told from "
            "other words where it must not be."
        )
    return Secret(value)
