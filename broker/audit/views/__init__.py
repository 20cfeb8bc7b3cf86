"""The trail as others read it: entries, CSV, OCSF events and the monthly report. The verifier needs none of it.

Pure functions over records in the order of the log. Whatever somebody has made of a record, they say it or leave it
out, and do not fail: whether records are as they were written is `verify`'s to say.
"""

from broker.audit.views.entries import Entry, join
from broker.audit.views.stream import Gap, read_stream, without_gaps

__all__ = ["Entry", "Gap", "join", "read_stream", "without_gaps"]
