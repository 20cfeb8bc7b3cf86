"""The only way out: allowed hosts, address ranges, no redirects, caps on size and time, the Authorization header.

A connector gets a `Session`: bound to one base URL, already authorised for one grant, for one attempt. The token is
written at the last moment, here, and nothing that is handed back (responses, errors) holds it. A service that is a
program on this machine is started here too: it is given its credential, and nothing else of the broker's.
"""

from broker.egress.client import Client, Dispatch, Egress, Limits, Response, Streamed
from broker.egress.knocking import knock
from broker.egress.processes import Command, Process, Processes
from broker.egress.reach import Reach, origin
from broker.egress.secret import HeaderSecret, Secret
from broker.egress.session import Authorization, Launch, Session

__all__ = [
    "Authorization",
    "Client",
    "Command",
    "Dispatch",
    "Egress",
    "HeaderSecret",
    "Launch",
    "Limits",
    "Process",
    "Processes",
    "Reach",
    "Response",
    "Secret",
    "Session",
    "Streamed",
    "knock",
    "origin",
]
