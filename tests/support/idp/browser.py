"""A person at a browser, as far as a login needs one: follows links, fills in forms, gives consent."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

_MOST_PAGES = 10


class _Forms(HTMLParser):
    """The first form of a page: where it goes, and what stands in it."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = found.get("action") or ""
        elif tag in {"input", "button"} and found.get("name"):  # the last button is the one that agrees
            self.fields[str(found["name"])] = found.get("value") or ""


def log_in(url: str, person: str, authority: str) -> str:
    """Visit an authorization URL as a person, and return the page that the client's callback shows in the end."""
    with requests.Session() as session:
        session.verify, session.trust_env = authority, False
        response = session.get(url, timeout=60)
        for _ in range(_MOST_PAGES):
            forms = _Forms()
            forms.feed(response.text)
            if forms.action is None or "/oauth/callback" in response.url:
                return response.text
            fields = {**forms.fields, **dict.fromkeys({"login", "password"} & forms.fields.keys(), person)}
            response = session.post(urljoin(response.url, forms.action), data=fields, timeout=60)
    raise AssertionError(f"the login does not end: {response.url}")
