"""The objects of the org: Account, Contact, Opportunity, Case, User and a custom one, Invoice__c.

Names, types, lengths and picklist values are those of a fresh Developer Edition org (Object Reference for the
Salesforce Platform). Each object has a part of its standard fields; Account has one custom field, CRM_Id__c, an
external id, as integrations add it. Invoice__c stands for what an organisation makes itself.
"""

from types import MappingProxyType
from typing import Final

from broker.testing.salesforce.schema import Child, Field, SObject

STAGES: Final = MappingProxyType(
    {
        "Prospecting": 10.0,
        "Qualification": 10.0,
        "Needs Analysis": 20.0,
        "Value Proposition": 50.0,
        "Id. Decision Makers": 60.0,
        "Perception Analysis": 70.0,
        "Proposal/Price Quote": 75.0,
        "Negotiation/Review": 90.0,
        "Closed Won": 100.0,
        "Closed Lost": 0.0,
    },
)
INDUSTRIES: Final = (
    *("Agriculture", "Apparel", "Banking", "Biotechnology", "Chemicals", "Communications", "Construction"),
    *("Consulting", "Education", "Electronics", "Energy", "Engineering", "Entertainment", "Environmental", "Finance"),
    *("Food & Beverage", "Government", "Healthcare", "Hospitality", "Insurance", "Machinery", "Manufacturing"),
    *("Media", "Not For Profit", "Recreation", "Retail", "Shipping", "Technology", "Telecommunications"),
    *("Transportation", "Utilities", "Other"),
)
RATINGS: Final = ("Hot", "Warm", "Cold")
LEAD_SOURCES: Final = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
ACCOUNT_TYPES: Final = (
    *("Prospect", "Customer - Direct", "Customer - Channel", "Channel Partner / Reseller"),
    *("Installation Partner", "Technology Partner", "Other"),
)
OPPORTUNITY_TYPES: Final = (
    *("Existing Customer - Upgrade", "Existing Customer - Replacement"),
    *("Existing Customer - Downgrade", "New Customer"),
)
CASE_STATUSES: Final = ("New", "Working", "Escalated", "Closed")
CASE_PRIORITIES: Final = ("High", "Medium", "Low")
CASE_ORIGINS: Final = ("Phone", "Email", "Web")


def _text(name: str, label: str, length: int, kind: str = "string") -> Field:
    return Field(name=name, label=label, type=kind, length=length)


def _required_text(name: str, label: str, length: int, *, name_field: bool = False) -> Field:
    return Field(name=name, label=label, type="string", length=length, nillable=False, name_field=name_field)


def _picklist(name: str, label: str, values: tuple[str, ...], default: str | None = None) -> Field:
    return Field(
        name=name,
        label=label,
        type="picklist",
        length=255,
        picklist=values,
        default=default,
        defaulted_on_create=default is not None,
    )


def _reference(name: str, label: str, target: str, relationship: str, children: str) -> Field:
    return Field(
        name=name,
        label=label,
        type="reference",
        length=18,
        reference_to=(target,),
        relationship_name=relationship,
        child_relationship=children,
    )


def _currency(name: str, label: str, scale: int) -> Field:
    return Field(name=name, label=label, type="currency", precision=18, scale=scale)


def _read_only(name: str, label: str, kind: str, length: int = 0) -> Field:
    return Field(
        name=name,
        label=label,
        type=kind,
        length=length,
        nillable=False,
        createable=False,
        updateable=False,
        defaulted_on_create=True,
    )


def _flag(name: str, label: str, *, writable: bool) -> Field:
    return Field(
        name=name,
        label=label,
        type="boolean",
        nillable=False,
        createable=writable,
        updateable=writable,
        defaulted_on_create=True,
        default=False,
    )


def _address(prefix: str) -> tuple[Field, ...]:
    return (
        _text(f"{prefix}Street", f"{prefix} Street", 255, "textarea"),
        _text(f"{prefix}City", f"{prefix} City", 40),
        _text(f"{prefix}State", f"{prefix} State/Province", 80),
        _text(f"{prefix}PostalCode", f"{prefix} Zip/Postal Code", 20),
        _text(f"{prefix}Country", f"{prefix} Country", 80),
    )


def _user(name: str, label: str, relationship: str, *, writable: bool) -> Field:
    return Field(
        name=name,
        label=label,
        type="reference",
        length=18,
        nillable=False,
        createable=writable,
        updateable=writable,
        defaulted_on_create=True,
        reference_to=("User",),
        relationship_name=relationship,
    )


def _first_fields(object_label: str) -> tuple[Field, ...]:
    return (
        _read_only("Id", f"{object_label} ID", "id", 18),
        _flag("IsDeleted", "Deleted", writable=False),
    )


_DESCRIPTION: Final = _text("Description", "Description", 32000, "textarea")
_LAST_FIELDS: Final = (
    _user("OwnerId", "Owner ID", "Owner", writable=True),
    _read_only("CreatedDate", "Created Date", "datetime"),
    _user("CreatedById", "Created By ID", "CreatedBy", writable=False),
    _read_only("LastModifiedDate", "Last Modified Date", "datetime"),
    _user("LastModifiedById", "Last Modified By ID", "LastModifiedBy", writable=False),
    _read_only("SystemModstamp", "System Modstamp", "datetime"),
)

ACCOUNT: Final = SObject(
    "Account",
    "Accounts",
    "001",
    (
        *_first_fields("Account"),
        _required_text("Name", "Account Name", 255, name_field=True),
        _picklist("Type", "Account Type", ACCOUNT_TYPES),
        _reference("ParentId", "Parent Account ID", "Account", "Parent", "ChildAccounts"),
        *_address("Billing"),
        _text("Phone", "Account Phone", 40, "phone"),
        _text("AccountNumber", "Account Number", 40),
        _text("Website", "Website", 255, "url"),
        _picklist("Industry", "Industry", INDUSTRIES),
        _currency("AnnualRevenue", "Annual Revenue", 0),
        Field(name="NumberOfEmployees", label="Employees", type="int", digits=8),
        _DESCRIPTION,
        _picklist("Rating", "Account Rating", RATINGS),
        *_LAST_FIELDS,
    ),
)

CONTACT: Final = SObject(
    "Contact",
    "Contacts",
    "003",
    (
        *_first_fields("Contact"),
        _reference("AccountId", "Account ID", "Account", "Account", "Contacts"),
        _required_text("LastName", "Last Name", 80),
        _text("FirstName", "First Name", 40),
        Field(
            name="Name",
            label="Full Name",
            type="string",
            length=121,
            nillable=False,
            createable=False,
            updateable=False,
            name_field=True,
        ),
        *_address("Mailing"),
        _text("Phone", "Business Phone", 40, "phone"),
        _text("Email", "Email", 80, "email"),
        _text("Title", "Title", 128),
        _text("Department", "Department", 80),
        _picklist("LeadSource", "Lead Source", LEAD_SOURCES),
        Field(name="Birthdate", label="Birthdate", type="date"),
        _DESCRIPTION,
        *_LAST_FIELDS,
    ),
)

OPPORTUNITY: Final = SObject(
    "Opportunity",
    "Opportunities",
    "006",
    (
        *_first_fields("Opportunity"),
        _reference("AccountId", "Account ID", "Account", "Account", "Opportunities"),
        _required_text("Name", "Name", 120, name_field=True),
        _DESCRIPTION,
        Field(
            name="StageName",
            label="Stage",
            type="picklist",
            length=255,
            nillable=False,
            picklist=tuple(STAGES),
        ),
        _currency("Amount", "Amount", 2),
        Field(name="Probability", label="Probability (%)", type="percent", precision=3, defaulted_on_create=True),
        Field(name="CloseDate", label="Close Date", type="date", nillable=False),
        _picklist("Type", "Opportunity Type", OPPORTUNITY_TYPES),
        _text("NextStep", "Next Step", 255),
        _picklist("LeadSource", "Lead Source", LEAD_SOURCES),
        _flag("IsClosed", "Closed", writable=False),
        _flag("IsWon", "Won", writable=False),
        *_LAST_FIELDS,
    ),
)

CASE: Final = SObject(
    "Case",
    "Cases",
    "500",
    (
        *_first_fields("Case"),
        Field(
            name="CaseNumber",
            label="Case Number",
            type="string",
            length=30,
            nillable=False,
            createable=False,
            updateable=False,
            defaulted_on_create=True,
            name_field=True,
            auto_number=True,
        ),
        _reference("ContactId", "Contact ID", "Contact", "Contact", "Cases"),
        _reference("AccountId", "Account ID", "Account", "Account", "Cases"),
        _picklist("Type", "Case Type", ("Mechanical", "Electrical", "Electronic", "Structural", "Other")),
        _picklist("Status", "Status", CASE_STATUSES, default="New"),
        _picklist("Origin", "Case Origin", CASE_ORIGINS),
        _text("Subject", "Subject", 255),
        _picklist("Priority", "Priority", CASE_PRIORITIES, default="Medium"),
        _DESCRIPTION,
        _flag("IsClosed", "Closed", writable=False),
        Field(name="ClosedDate", label="Closed Date", type="datetime", createable=False, updateable=False),
        _flag("IsEscalated", "Escalated", writable=True),
        *_LAST_FIELDS,
    ),
)

USER: Final = SObject(
    "User",
    "Users",
    "005",
    (
        _read_only("Id", "User ID", "id", 18),
        _required_text("Username", "Username", 80),
        _required_text("LastName", "Last Name", 80),
        _text("FirstName", "First Name", 40),
        _text("Name", "Full Name", 121),
        Field(name="Email", label="Email", type="email", length=128, nillable=False),
        _flag("IsActive", "Active", writable=True),
        _read_only("CreatedDate", "Created Date", "datetime"),
        _read_only("LastModifiedDate", "Last Modified Date", "datetime"),
        _read_only("SystemModstamp", "System Modstamp", "datetime"),
    ),
)

INVOICE: Final = SObject(
    "Invoice__c",
    "Invoices",
    "a00",
    (
        *_first_fields("Record"),
        _required_text("Name", "Invoice Number", 80, name_field=True),
        _reference("Account__c", "Account", "Account", "Account__r", "Invoices__r"),
        _currency("Amount__c", "Amount", 2),
        Field(
            name="Status__c",
            label="Status",
            type="picklist",
            length=255,
            nillable=False,
            picklist=("Draft", "Sent", "Paid"),
            restricted=True,
        ),
        Field(name="Due__c", label="Due", type="date"),
        Field(name="Number__c", label="External Number", type="string", length=40, external_id=True),
        Field(name="Broker_Key__c", label="Broker Key", type="string", length=80, external_id=True),
        *_LAST_FIELDS,
    ),
    "Invoice",
)

OBJECTS: Final = (ACCOUNT, CASE, CONTACT, INVOICE, OPPORTUNITY, USER)


def children_of(sobject: SObject) -> tuple[Child, ...]:
    """List what refers to the records of an object, under the names that subqueries use."""
    return tuple(
        Child(field.child_relationship, other.name, field.name)
        for other in OBJECTS
        for field in other.fields
        if field.child_relationship and sobject.name in field.reference_to
    )


def find_object(name: str) -> SObject | None:
    """Find an object type; API names are compared without case."""
    return next((sobject for sobject in OBJECTS if sobject.name.casefold() == name.casefold()), None)
