"""The seeded org: the same records on every machine, some of them chosen to break careless code.

Nothing here is random: the n-th record of an object takes the n-th value of each list, counted round and round,
and the lists have different lengths, so that the values mix.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

from broker.testing.salesforce.objects import (
    ACCOUNT,
    ACCOUNT_TYPES,
    CASE,
    CASE_ORIGINS,
    CASE_PRIORITIES,
    CASE_STATUSES,
    CONTACT,
    INDUSTRIES,
    INVOICE,
    LEAD_SOURCES,
    OPPORTUNITY,
    OPPORTUNITY_TYPES,
    RATINGS,
    STAGES,
    USER,
)
from broker.testing.salesforce.org import Org
from broker.testing.salesforce.users import PEOPLE, USER_IDS

ACCOUNTS: Final = 120
CONTACTS: Final = 200
OPPORTUNITIES: Final = 150
CASES: Final = 130
INVOICES: Final = 40

_FIRST_DAY: Final = datetime(2023, 1, 2, 8, 15, tzinfo=UTC)
_AWKWARD_NAMES: Final = (
    "O'Brien & Sons",
    'The "Quoted" Company',
    "Back\\slash Industries",
    "C:\\new\\table\\users",
    "100% Organic Foods",
    "100x Organic Foods",
    "under_score Labs",
    "under-score Labs",
    "Acme",
    "ACME Holding",
    "null",
    "Übergröße Æther GmbH",
    "株式会社サンプル",
    "Ситроникс",
    "Rocket 🚀 Works",
    "<script>alert('Tyrell')</script>",
    "Smith, Smith; Smith",
    "' OR Name != '",
)
_PLACES: Final = (
    ("14 Harbour Street", "Bristol", None, "BS1 4RW", "United Kingdom"),
    ("901 Market St\r\nFloor 12", "San Francisco", "CA", "94103", "USA"),
    ("Kärntner Straße 7/2", "Wien", None, "1010", "Austria"),
    ("350 5th Ave", "New York", "NY", "10118", "USA"),
    (None, None, None, None, None),
    ("12 Rue de l'Église", "Montréal", "QC", "H2Y 1C6", "Canada"),
    ("3-1 Marunouchi", "Chiyoda-ku", "Tokyo", "100-0005", "Japan"),
)
_ADJECTIVES: Final = ("Northern", "Blue", "United", "Silver", "Grand", "Pacific", "Bright", "Iron", "Evergreen")
_NOUNS: Final = ("Foundry", "Logistics", "Dental Group", "Bakery", "Robotics", "Textiles", "Vineyards", "Optics")
_FIRST_NAMES: Final = ("Ada", None, "Seán", "Grace", "Zoë", "Linus", "Mary-Jane", "李", "Tim", "Olu", "Ana")
_LAST_NAMES: Final = (
    "O'Brien",
    "Lovelace",
    "García",
    "van der Berg",
    "D'Angelo",
    "Müller",
    "Null",
    "Ng",
    "Smith_Jones",
)
_TITLES: Final = ("CFO", "VP, Sales", "Buyer", None, "Facilities Manager", "Head of R&D", "SVP \\ Procurement")
_DEPARTMENTS: Final = ("Finance", "Sales", None, "Operations")
_SUBJECTS: Final = (
    "Cannot log in",
    "Invoice is 100% wrong",
    "Portal shows 'undefined'",
    "Pump leaks",
    "C:\\temp fills up",
    None,
    "Feature request: dark_mode",
)
_DESCRIPTIONS: Final = (
    None,
    "A regular customer.\r\nPrefers e-mail.\r\n\tCalls on Fridays.",
    'They said: "it\'s fine".',
    "Discount of 15% until 2024_Q4; path \\\\share\\docs.",
    "Renewal due. 续约。",
)

Value = TypeVar("Value")


def seeded_org() -> Org:
    """Build a fresh copy of the org; what one test changes, no other test sees."""
    org = Org()
    for number, person in enumerate(PEOPLE):
        first, _, last = person.name.partition(" ")
        names = {"FirstName": first, "LastName": last, "Username": person.username, "Email": person.email}
        org.create(USER, names | {"IsActive": True}, _day(number))
    accounts = [org.create(ACCOUNT, _account(number), _day(number)) for number in range(ACCOUNTS)]
    contacts = [org.create(CONTACT, _contact(number, accounts), _day(number)) for number in range(CONTACTS)]
    for number in range(OPPORTUNITIES):
        org.create(OPPORTUNITY, _opportunity(number, accounts), _day(number))
    for number in range(CASES):
        org.create(CASE, _case(number, accounts, contacts), _day(number))
    for number in range(INVOICES):
        org.create(INVOICE, _invoice(number, accounts), _day(number))
    return org


def _account(number: int) -> dict[str, Any]:
    street, city, state, postal_code, country = _nth(_PLACES, number)
    return {
        "Name": _account_name(number),
        "AccountNumber": f"CD{300_000 + 7 * number}",
        "Type": _nth((*ACCOUNT_TYPES, None, None), number),
        "Industry": _nth((*INDUSTRIES, None), number),
        "AnnualRevenue": None if number % 9 == 4 else 250_000 * (number % 40 + 1),
        "NumberOfEmployees": None if number % 11 == 5 else 3 + 37 * number,
        "Phone": None if number % 8 == 3 else f"+1 415 555 {number:04}",
        "Website": None if number % 6 == 2 else f"https://www.example{number}.com/?a=1&b=%20",
        "Rating": _nth((*RATINGS, None), number),
        "BillingStreet": street,
        "BillingCity": city,
        "BillingState": state,
        "BillingPostalCode": postal_code,
        "BillingCountry": country,
        "Description": _nth(_DESCRIPTIONS, number),
        "OwnerId": _nth(USER_IDS, number // 4),
    }


def _account_name(number: int) -> str:
    if number < len(_AWKWARD_NAMES):
        return _AWKWARD_NAMES[number]
    return f"{_nth(_ADJECTIVES, number)} {_nth(_NOUNS, number)} {number}"


def _contact(number: int, accounts: Sequence[str]) -> dict[str, Any]:
    street, city, state, postal_code, country = _nth(_PLACES, number + 3)
    last_name = _nth(_LAST_NAMES, number)
    return {
        "AccountId": None if number % 17 == 8 else _nth(accounts, number * 7),
        "LastName": last_name,
        "FirstName": _nth(_FIRST_NAMES, number),
        "Email": None if number % 10 == 6 else f"person{number}+test@example.com",
        "Phone": None if number % 5 == 1 else f"(020) 7946 {number:04}",
        "Title": _nth(_TITLES, number),
        "Department": _nth(_DEPARTMENTS, number),
        "LeadSource": _nth((*LEAD_SOURCES, None), number),
        "Birthdate": None if number % 4 == 1 else (date(1958, 3, 1) + timedelta(days=83 * number)).isoformat(),
        "MailingStreet": street,
        "MailingCity": city,
        "MailingState": state,
        "MailingPostalCode": postal_code,
        "MailingCountry": country,
        "Description": _nth(_DESCRIPTIONS, number + 1),
        "OwnerId": _nth(USER_IDS, number),
    }


def _opportunity(number: int, accounts: Sequence[str]) -> dict[str, Any]:
    return {
        "AccountId": None if number % 23 == 11 else _nth(accounts, number * 11),
        "Name": f"{_account_name(number * 11 % ACCOUNTS)} - {_nth(('Renewal', 'Upgrade 10%', 'New_Site'), number)}",
        "StageName": _nth(tuple(STAGES), number),
        "Amount": None if number % 13 == 7 else 1_250.5 * (number + 1),
        "CloseDate": (date(2023, 6, 30) + timedelta(days=5 * number)).isoformat(),
        "Type": _nth((*OPPORTUNITY_TYPES, None), number),
        "NextStep": _nth(("Call Zoë", None, "Send the 'final' offer"), number),
        "LeadSource": _nth((*LEAD_SOURCES, None), number),
        "Description": _nth(_DESCRIPTIONS, number + 2),
        "OwnerId": _nth(USER_IDS, number),
    }


def _case(number: int, accounts: Sequence[str], contacts: Sequence[str]) -> dict[str, Any]:
    return {
        "AccountId": None if number % 12 == 5 else _nth(accounts, number * 13),
        "ContactId": None if number % 9 == 2 else _nth(contacts, number * 3),
        "Type": _nth(("Mechanical", None, "Electrical", "Electronic", "Structural"), number),
        "Status": _nth(CASE_STATUSES, number),
        "Priority": _nth(CASE_PRIORITIES, number),
        "Origin": _nth((*CASE_ORIGINS, None, None), number),
        "Subject": _nth(_SUBJECTS, number),
        "IsEscalated": number % 15 == 0,
        "Description": _nth(_DESCRIPTIONS, number + 3),
        "OwnerId": _nth(USER_IDS, number),
    }


def _invoice(number: int, accounts: Sequence[str]) -> dict[str, Any]:
    return {
        "Name": f"INV-{1000 + number}",
        "Account__c": _nth(accounts, number * 5),
        "Amount__c": 99.5 * (number + 1),
        "Status__c": _nth(("Draft", "Sent", "Paid"), number),
        "Due__c": (date(2024, 1, 31) + timedelta(days=9 * number)).isoformat(),
        "Number__c": None if number % 8 == 3 else f"EXT-{number:03}",
        "OwnerId": _nth(USER_IDS, number),
    }


def _day(number: int) -> datetime:
    return _FIRST_DAY + timedelta(days=3 * number, minutes=11 * number)


def _nth(values: Sequence[Value], number: int) -> Value:
    return values[number % len(values)]
