"""Filters of the trail in an operator's request: the parts of its query, under their names."""

from starlette.requests import Request

from broker.audit import Filter
from broker.errors import OperatorRequestInvalid


def filter_of(request: Request, ignoring: frozenset[str]) -> Filter:
    """Return the filter that a request asks for; raise `OperatorRequestInvalid`, naming the part that is wrong.

    `ignoring` names the query's other parameters. What is empty or stands there twice is refused, not dropped: less
    would be asked for than was meant.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise OperatorRequestInvalid(f"{name}: stands there twice.")
        if not value:
            raise OperatorRequestInvalid(f"{name}: is empty; leave it out to ask for nothing.")
        given[name] = value
    try:
        return Filter.parse({name: value for name, value in given.items() if name not in ignoring})
    except ValueError as error:
        raise OperatorRequestInvalid(f"{error}.") from None
