"""The only way out: allowed hosts, address ranges, no redirects, caps on size and time, the Authorization header.

A connector gets a `Session`: bound to one base URL, already authorised for one grant, for one attempt. The token is
written at the last moment, here, and nothing that is handed back (responses, errors) holds it.
"""

from broker.egress.client import Client, Dispatch, Egress, Limits, Response
from broker.egress.knocking import knock
from broker.egress.reach import Reach, origin
from broker.egress.secret import HeaderSecret, Secret
from broker.egress.session import Authorization, Session
from broker.egress.streamed import Streamed

__all__ = [
    "Authorization",
    "Client",
    "Dispatch",
    "Egress",
    "HeaderSecret",
    "Limits",
    "Reach",
    "Response",
    "Secret",
    "Session",
    "Streamed",
    "knock",
    "origin",
]
