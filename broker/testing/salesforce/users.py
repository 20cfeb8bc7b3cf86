"""The people of the org: who owns records, and who can sign in to approve the app."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from broker.testing.salesforce.ids import record_id

FIRST_NUMBER: Final = 4_000_000_000  # so that seeded Ids have capitals to encode
NUMBER_STEP: Final = 1_000_003


@dataclass(frozen=True, slots=True)
class Person:
    """One user of the org; the username is what OAuth names them by."""

    id: str
    username: str
    name: str
    email: str


def _person(place: int, username: str, name: str) -> Person:
    return Person(record_id("005", FIRST_NUMBER + NUMBER_STEP * place), username, name, username)


PEOPLE: Final = (
    _person(0, "broker@example.com", "Broker Integration"),
    _person(1, "jane@example.com", "Jane Moreau"),
    _person(2, "omar@example.com", "Omar O'Hara"),
)
USER_IDS: Final = tuple(person.id for person in PEOPLE)
BY_USERNAME: Final = MappingProxyType({person.username: person for person in PEOPLE})
