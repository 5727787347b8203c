"""PaymentMethod objects."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.errors import StripeError
from stripe_sandbox.ids import new_id, random_text
from stripe_sandbox.instruments import TEST_BANK_ACCOUNTS, TEST_PAYMENT_METHODS, Instrument, bank_account, card
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_PM = stripe.PaymentMethod
_DETAILS = stripe.Charge.PaymentMethodDetails
_EXPIRY = {"exp_month": 12, "exp_year": 2034}
_BANK = {"account_holder_type": "individual", "account_type": "checking", "bank_name": "STRIPE TEST BANK"}


def billing_details(email: str | None = None, name: str | None = None, phone: str | None = None) -> Obj:
    """Billing details with an address that has only a country."""
    address = {"city": None, "country": "US", "line1": None, "line2": None, "postal_code": None, "state": None}
    return {"address": address, "email": email, "name": name, "phone": phone, "tax_id": None}


def create(
    sandbox: Sandbox, instrument: Instrument, billing: Obj | None = None, metadata: dict[str, str] | None = None
) -> Obj:
    """Creates a payment method that is not attached to a customer."""
    method = build(
        _PM,
        id=new_id("pm"),
        allow_redisplay="unspecified",
        billing_details=billing or billing_details(),
        created=sandbox.clock.now(),
        metadata=metadata or {},
        type=instrument.method,
        **{instrument.method: _type_hash(instrument)},
    )
    for other in [name for name, value in method.items() if value is None and name not in _ALWAYS]:
        del method[other]  # only the hash of its own type
    sandbox.internal.instruments[method["id"]] = instrument
    return sandbox.store.add(method)


_ALWAYS = frozenset({"customer", "customer_account"})


def resolve(sandbox: Sandbox, id: str, param: str = "payment_method") -> Obj:
    """The payment method with this id; a test id like `pm_card_visa` creates one. Raises 400 resource_missing."""
    if id in TEST_PAYMENT_METHODS:
        return create(sandbox, card(TEST_PAYMENT_METHODS[id]))
    if id in TEST_BANK_ACCOUNTS:
        return create(sandbox, bank_account(TEST_BANK_ACCOUNTS[id]))
    return sandbox.store.param("payment_method", id, param)


def attach(sandbox: Sandbox, method: Obj, customer: str) -> Obj:
    """Attaches a payment method. Emits payment_method.attached unless already attached."""
    if method["customer"] != customer:
        before = copy_of(method)
        method["customer"] = customer
        sandbox.emit("payment_method.attached", method, before)
    return method


def detach(sandbox: Sandbox, method: Obj) -> None:
    """Detaches a payment method for good, also as default. Emits payment_method.detached."""
    before, customer = copy_of(method), sandbox.store.find(method["customer"])
    method["customer"] = None
    sandbox.internal.detached.add(method["id"])
    sandbox.emit("payment_method.detached", method, before)
    if customer is not None and customer["invoice_settings"]["default_payment_method"] == method["id"]:
        earlier = copy_of(customer)
        customer["invoice_settings"]["default_payment_method"] = None
        sandbox.emit("customer.updated", customer, earlier)


def require_owner(method: Obj, customer: str | None, param: str = "payment_method") -> None:
    """Raises unless the payment method is attached to this customer."""
    if method["customer"] != customer:
        raise StripeError(
            f"The customer does not have a payment method with the ID {method['id']}. The payment method must be "
            "attached to the customer.",
            code="resource_missing",
            param=param,
        )


def require_not_detached(sandbox: Sandbox, method: Obj) -> None:
    """Raises if the payment method was detached."""
    if method["id"] in sandbox.internal.detached:
        raise StripeError(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
            "with a connected account without Customer attachment, or was detached from a Customer. It may not be "
            "used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            param="payment_method",
        )


def default_of(sandbox: Sandbox, customer: str) -> Obj | None:
    """The customer's default payment method for invoices, if any."""
    holder = sandbox.store.find(customer)
    default = holder["invoice_settings"]["default_payment_method"] if holder else None
    return sandbox.store.find(default) if default else None


def charge_details(instrument: Instrument, mandate: Obj | None) -> Obj:
    """`payment_method_details` of a charge."""
    if instrument.method == "card":
        details = part(
            _DETAILS.Card,
            brand=instrument.brand,
            checks={"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            country="US",
            fingerprint=random_text(16),
            funding="credit",
            last4=instrument.last4,
            network=instrument.brand,
            wallet=_wallet(instrument),
            **_EXPIRY,
        )
    elif instrument.method == "us_bank_account":
        details = part(
            _DETAILS.UsBankAccount,
            last4=instrument.last4,
            mandate=mandate["id"] if mandate else None,
            routing_number="110000000",
            **_BANK,
        )
    else:
        details = part(_DETAILS._inner_class_types[instrument.method])
    return {"type": instrument.method, instrument.method: details}


def _wallet(instrument: Instrument) -> Obj | None:
    if instrument.wallet is None:
        return None
    return {"dynamic_last4": None, "type": instrument.wallet, instrument.wallet: {}}


def _type_hash(instrument: Instrument) -> dict[str, Any]:
    if instrument.method == "card":
        return part(
            _PM.Card,
            brand=instrument.brand,
            checks={"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            country="US",
            display_brand=instrument.brand,
            fingerprint=random_text(16),
            funding="credit",
            last4=instrument.last4,
            networks={"available": [instrument.brand], "preferred": None},
            wallet=_wallet(instrument),
            **_EXPIRY,
        )
    if instrument.method == "us_bank_account":
        return part(_PM.UsBankAccount, last4=instrument.last4, routing_number="110000000", **_BANK)
    return {}
