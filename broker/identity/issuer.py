"""Issuers that are no trust domain (Kubernetes, GitHub, GitLab, any OIDC provider), and whom their tokens stand for.

A verified token stands for exactly one registered agent, by a rule of equalities that the issuer's document writes out.
Nothing is compared by prefix or part, nothing that is absent is equal to anything, and an issuer without rules maps
nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from broker.errors import IdentityAmbiguous, IdentityUnmapped, ProofMalformed
from broker.identity.registry import Environment
from broker.identity.workload import OnBehalfOf

_CLIENT_CLAIMS = ("azp", "client_id", "cid", "appid")  # OIDC Core §2, RFC 9068 §2.2, Okta, Entra ID v1
_OF_NOBODY = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "typ", "scope"})  # what many tokens say alike
_MOST_COMPARED = 50  # rules, to say which is the nearest: anybody can get a token of GitHub's, and many of them
_LONGEST_NAME = 255  # OIDC Core §2: of a subject
_HTTPS = r"^https://[^/@\s?#]+(/[^\s?#]*)?$"

Value = str | bool | int
Equalities = dict[str, Any]
Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]


def _checked(equalities: Equalities) -> Equalities:
    for name, value in equalities.items():
        if isinstance(value, dict) and value:
            _checked(value)
        elif not isinstance(value, Value):
            raise ValueError(
                f"{name} must be a text, a number, true or false, or members of it: nothing else is compared"
            )
    return equalities


class AgentRule(BaseModel):
    """Which tokens stand for one agent: those that are equal in everything that is written here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: Annotated[str, Field(min_length=1)] = Field(description="The name of the Agent document.")
    claims: Annotated[Equalities, AfterValidator(_checked)] = Field(
        default_factory=dict,
        description="Claims that the token must have, with exactly these values; members of an object by its members.",
    )
    client: Name | None = Field(
        default=None,
        description="A user's login: the client (azp or client_id) that is the agent; the subject is on whose behalf.",
    )
    actor: Name | None = Field(
        default=None,
        description="A delegation (RFC 8693): the act.sub that is the agent; the subject is on whose behalf.",
    )

    @model_validator(mode="after")
    def _says_who(self) -> "AgentRule":
        if self.client is not None and self.actor is not None:
            raise ValueError("name either a client or an actor; what else must be so is written under claims")
        if "act" in self.claims and self.actor is None:
            raise ValueError("a token with act is a delegation: name who acts as actor")
        if self.client is None and self.actor is None and not self.claims.keys() - _OF_NOBODY:
            raise ValueError("say whose tokens are meant: name claims that only they have, a client or an actor")
        return self


class KeySource(BaseModel):
    """Where an issuer's keys come from: its discovery document unless a url or a file is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(pattern=_HTTPS, examples=["https://login.example.com/keys"])] | None = Field(
        default=None, description="Its JWK Set; without it, the discovery document says where that is."
    )
    file: str | None = Field(default=None, description="Its JWK Set, beside the documents: nothing is fetched.")
    hosts: list[Annotated[str, Field(pattern=r"^[^\s/@]+$", examples=["keys.example.com"])]] = Field(
        default_factory=list, description="Hosts besides the issuer's own that its discovery document may point to."
    )
    certificate_authority: str | None = Field(default=None, description="PEM file to trust for the issuer.")
    private_ranges: list[str] = Field(default_factory=list, description="Private address ranges that it may be in.")
    stale_after_hours: Annotated[float, Field(gt=0, le=24 * 30)] = Field(
        default=24, description="Fetched keys that could not be renewed for this long are no longer trusted."
    )

    @model_validator(mode="after")
    def _one(self) -> "KeySource":
        if self.url is not None and self.file is not None:
            raise ValueError("name a file or a url, not both")
        return self


class TokenReviewPart(BaseModel):
    """The Kubernetes API server that is asked about each token: a token of a pod that is gone is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(pattern=_HTTPS, examples=["https://kubernetes.default.svc"])]
    token_file: Annotated[str, Field(min_length=1)] = Field(
        default="/var/run/secrets/kubernetes.io/serviceaccount/token",
        description="The broker's own token for the API server, read each time; it may create tokenreviews.",
    )
    certificate_authority: str | None = Field(default=None, description="PEM file to trust for the API server.")
    private_ranges: list[str] = Field(default_factory=list, description="Private address ranges that it may be in.")


class IssuerDocument(BaseModel):
    """`spec` of an `Issuer` document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Annotated[str, Field(pattern=_HTTPS, examples=["https://token.actions.githubusercontent.com"])] = Field(
        description="The exact value of `iss`."
    )
    environment: Environment = Field(description="Only agents of this environment can be meant by its tokens.")
    audience: Annotated[str, Field(pattern=r"^\S{1,500}$", examples=["api://agent-access"])] | None = Field(
        default=None, description="What its tokens are issued for, if it cannot be the broker's own audience."
    )
    keys: KeySource | None = Field(default=None, description="How its keys are found; by discovery if not said.")
    token_review: TokenReviewPart | None = Field(
        default=None, description="Ask a Kubernetes API server about each token; its keys then only if 'keys' is said."
    )
    longest_lifetime_seconds: Annotated[int, Field(ge=30, le=86400)] = Field(
        default=3600, description="Tokens that live longer are refused."
    )
    required_scopes: Annotated[
        list[Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", examples=["agent-access"])]],
        Field(max_length=16),
    ] = Field(default_factory=list, description="Scopes that its tokens must have; clients are told to ask for them.")
    id_jag: bool = Field(
        default=False, description="Take its identity assertions (ID-JAG) at the broker's token endpoint, each once."
    )
    trust_emails: bool = Field(
        default=False, description="Believe a person's `email` without `email_verified`: nobody else can set it there."
    )
    agents: Annotated[list[AgentRule], Field(max_length=1000)] = Field(
        default_factory=list, description="Whom its tokens stand for; a token that no rule or two rules fit is refused."
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, with its agent's workload. `equalities` are the claims that must be equal, by their path."""

    workload: str
    equalities: tuple[tuple[tuple[str, ...], Value], ...]
    client: str | None = None
    actor: str | None = None

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether a token is meant."""
        for path, value in self.equalities:  # what most rules of a large issuer fail by, in the fewest steps
            if not _is(_at(claims, path), value):
                return False
        return next(self.differs_in(claims), None) is None

    def differs_in(self, claims: Mapping[str, Any]) -> Iterator[str]:
        """Yield what keeps a token from being meant, as names of claims; nothing if it is meant."""
        if ("act" in claims) != (self.actor is not None):
            yield "act"  # who acts is not the subject; and a token that nobody acts with is no delegation
        elif self.actor is not None and not _acts(self.actor, claims):
            yield "act.sub"
        if self.client is not None and not _is_client(self.client, claims):
            yield "azp"
        yield from (".".join(path) for path, value in self.equalities if not _is(_at(claims, path), value))

    def includes(self, other: "Rule") -> bool:
        """Tell whether every token that the other fits is fitted by this one."""
        return (
            {(path, type(value), value) for path, value in self.equalities}
            <= {(path, type(value), value) for path, value in other.equalities}
            and self.client in (None, other.client)
            and self.actor == other.actor
        )

    @property
    def delegated_by(self) -> str | None:
        """How the subject delegated, if it is not the agent itself."""
        return "token-exchange" if self.actor is not None else "oidc-login" if self.client is not None else None


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer as configured: what its tokens must be like, and whom they stand for."""

    name: str
    issuer: str
    environment: str
    audience: str
    rules: tuple[Rule, ...]
    longest_lifetime: float = 3600.0
    scopes: tuple[str, ...] = ()
    trust_emails: bool = False
    id_jag: bool = False
    has_keys: bool = True
    is_reviewed: bool = False

    @property
    def logs_people_in(self) -> bool:
        """Whether a client can send a person there to log in."""
        return any(rule.client is not None for rule in self.rules)

    def rule_for(self, claims: Mapping[str, Any]) -> Rule:
        """Return the one rule that fits verified claims; raise `IdentityUnmapped` or `IdentityAmbiguous`."""
        fitting = [rule for rule in self.rules if rule.fits(claims)]
        if len(fitting) > 1:
            raise IdentityAmbiguous(detail=f"{len(fitting)} rules of issuer {self.name} fit")
        if not fitting:
            differing = (list(rule.differs_in(claims)) for rule in self.rules[:_MOST_COMPARED])
            nearest = min(differing, key=len, default=None)
            why = f"the nearest differs in {', '.join(nearest)}" if nearest else "it has none"
            raise IdentityUnmapped(detail=f"no rule of issuer {self.name} fits: {why}")
        return fitting[0]

    def on_behalf_of(self, rule: Rule, claims: Mapping[str, Any]) -> OnBehalfOf | None:
        """Return who delegated to the agent, as verified claims say; None where the agent speaks for itself."""
        match rule.delegated_by:
            case "oidc-login" | "token-exchange" as method:
                return OnBehalfOf(self.issuer, subject_of(claims), method, self._email(claims))
        return None

    def _email(self, claims: Mapping[str, Any]) -> str | None:
        """Return the person's address, if the issuer has verified it: some let people write what they like."""
        email = claims.get("email")
        if not isinstance(email, str) or not email.isprintable() or not 0 < len(email) <= _LONGEST_NAME:
            return None
        return email if self.trust_emails or claims.get("email_verified") is True else None


def equalities_of(rule: AgentRule) -> tuple[tuple[tuple[str, ...], Value], ...]:
    """Return a rule's claims by their paths, in one order."""
    return tuple(sorted(_paths(rule.claims, ()), key=lambda one: one[0]))


def subject_of(claims: Mapping[str, Any]) -> str:
    """Return the subject; raise `ProofMalformed` if there is none that can be put on record whole."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= _LONGEST_NAME:
        raise ProofMalformed(detail="sub is no name of a subject")
    return subject


def _paths(claims: Mapping[str, Any], above: tuple[str, ...]) -> list[tuple[tuple[str, ...], Value]]:
    found: list[tuple[tuple[str, ...], Value]] = []
    for name, value in claims.items():
        found += _paths(value, (*above, name)) if isinstance(value, Mapping) else [((*above, name), value)]
    return found


def _at(claims: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(claims, Mapping):
            return None
        claims = claims.get(name)
    return claims


def _is(found: Any, wanted: Value) -> bool:
    return type(found) is type(wanted) and found == wanted  # 1 is not true, and "1" is not 1


def _is_client(wanted: str, claims: Mapping[str, Any]) -> bool:
    """Tell whether a person has logged in with this client: the claims agree on it, and it is not its own subject."""
    named = [claims[name] for name in _CLIENT_CLAIMS if name in claims]
    return bool(named) and all(name == wanted for name in named) and claims.get("sub") != wanted


def _acts(wanted: str, claims: Mapping[str, Any]) -> bool:
    """Tell whether this actor acts now; who acted before it is for information only (RFC 8693 §4.1)."""
    actor = claims["act"]
    if not isinstance(actor, Mapping) or actor.get("iss", claims.get("iss")) != claims.get("iss"):
        return False  # a name of another issuer's is another's
    return _is(actor.get("sub"), wanted) and claims.get("sub") != wanted
