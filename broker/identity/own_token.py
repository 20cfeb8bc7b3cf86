"""This process's own JWT-SVID, fetched from the Workload API for each use (SPIFFE_Workload_API §6.2.1).

The agent behind it keeps tokens and renews them in time, so nothing is remembered here.
"""

from broker.errors import Refusal
from broker.identity.endpoint import Endpoint
from broker.identity.workload_messages import SECURITY, grpc, method

_SECONDS = 10.0


class OwnToken:
    """Fetches JWT-SVIDs for one audience, of one workload or of the one that is this process's default."""

    def __init__(self, endpoint: str, audience: str, workload: str | None) -> None:
        self._audience = audience
        self._workload = workload
        self._method = method("FetchJWTSVID", "JWTSVIDRequest", "JWTSVIDResponse")
        self._failed = grpc().RpcError
        channel = grpc().insecure_channel(Endpoint.parse(endpoint).target, options=(("grpc.enable_http_proxy", 0),))
        self._call = channel.unary_unary(
            self._method.path,
            request_serializer=self._method.request.SerializeToString,
            response_deserializer=self._method.response.FromString,
        )

    def fetch(self) -> str:
        """Return a token; raise `OSError` if there is none to be had, whatever there was before."""
        request = self._method.request(audience=[self._audience], spiffe_id=self._workload or "")
        try:
            answer = self._call(request, metadata=SECURITY, timeout=_SECONDS)
        except self._failed as error:
            raise OSError(0, f"it answers {error.code().name}") from None
        for found in answer.svids:  # the first is the default (§8)
            if found.svid and self._workload in {None, found.spiffe_id}:
                return str(found.svid)
        raise OSError(0, "it has no token for this process")


def own_token(endpoint: str, audience: str, workload: str | None) -> OwnToken:
    """Return where this process's tokens come from; raise `ValueError` with what to do if there is no such place."""
    try:
        return OwnToken(endpoint, audience, workload)
    except Refusal as missing:
        raise ValueError(missing.message) from None
