"""Rules of invoices."""

from __future__ import annotations

from stripe_sandbox.flows import invoices, payment_methods
from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values
from stripe_sandbox.store import Obj

_CREATE, _UPDATE = "POST /v1/invoices", "POST /v1/invoices/{id}"
_SEND, _PAY, _VOID = (f"POST /v1/invoices/{{id}}/{verb}" for verb in ("send", "pay", "void"))


def _invoice(call: Call) -> Obj:
    """The invoice in the path; empty for a new one, or if there is none."""
    return (call.sandbox.store.find(call.id) or {}) if "id" in call.path else {}


def _collection_method(call: Call) -> str:
    return str(call.params.get("collection_method") or _invoice(call).get("collection_method", "charge_automatically"))


def _email_missing(call: Call) -> Values | None:
    id = _invoice(call).get("customer") or call.params.get("customer")
    customer = call.sandbox.store.find(id) if id else None
    return {} if customer and _collection_method(call) == "send_invoice" and not customer["email"] else None


def _due_date_missing(call: Call) -> Values | None:
    given = {"days_until_due", "due_date"} & set(call.params)
    return {} if _collection_method(call) == "send_invoice" and not given else None


def _due_date_not_allowed(call: Call) -> Values | None:
    given = {"days_until_due", "due_date"} & set(call.params)
    return {} if _collection_method(call) == "charge_automatically" and given else None


def _due_date_past(call: Call) -> Values | None:
    due, customer = call.params.get("due_date"), call.params.get("customer") or _invoice(call).get("customer")
    return {} if isinstance(due, int) and due <= call.sandbox.clock.now_for(customer) else None


def _already_paid(call: Call) -> Values | None:
    return {} if _invoice(call).get("status") == "paid" else None


def _processing(call: Call) -> Values | None:
    invoice = _invoice(call)
    if call.params.get("paid_out_of_band"):
        return None
    intent = invoices.intent_of(call.sandbox, invoice) if invoice else None
    return {} if intent is not None and intent["status"] == "processing" else None


def _foreign_method(call: Call) -> Values | None:
    invoice, given = _invoice(call), call.params.get("payment_method")
    if not invoice or given is None or call.params.get("paid_out_of_band"):
        return None
    method = payment_methods.resolve(call.sandbox, given)
    return {"method": method["id"]} if method["customer"] != invoice["customer"] else None


ACTION_REQUIRED = Rule(
    name="invoice_requires_action",
    calls=(_PAY,),
    message=(
        "This payment requires additional user action before it can be completed successfully. Payment can be "
        "completed using the PaymentIntent associated with the invoice."
    ),
    code="invoice_payment_intent_requires_action",
    status=402,
    source="docs.stripe.com/error-codes#invoice-payment-intent-requires-action (status and type: public mocks of it)",
)

RULES = [
    ACTION_REQUIRED,
    Rule(
        name="send_invoice_without_email",
        calls=(_CREATE, _SEND, "POST /v1/subscriptions"),
        check=_email_missing,
        message=(
            "Missing email. In order to create invoices that are sent to the customer, the customer must have a valid "
            "email."
        ),
        source="the message as quoted by public code of several users of the API (the call to send: believed)",
    ),
    Rule(
        name="send_invoice_without_due_date",
        calls=(_CREATE,),
        check=_due_date_missing,
        message="If invoice collection_method is 'send_invoice', you must specify 'due_date' or 'days_until_due'.",
        param="days_until_due",
        source="SDK: InvoiceCreateParams.days_until_due and due_date (message: believed)",
    ),
    Rule(
        name="due_date_of_automatic_invoice",
        calls=(_CREATE, _UPDATE),
        check=_due_date_not_allowed,
        message="You can only specify 'due_date' or 'days_until_due' if invoice collection_method is 'send_invoice'.",
        source="SDK: InvoiceCreateParams.due_date: valid only for collection_method=send_invoice (message: believed)",
    ),
    Rule(
        name="due_date_in_the_past",
        calls=(_CREATE, _UPDATE),
        check=_due_date_past,
        message="The due date of an invoice must be in the future.",
        param="due_date",
        source="believed",
    ),
    Rule(
        name="invoice_paid_twice",
        calls=(_PAY,),
        check=_already_paid,
        message="Invoice is already paid",
        source="believed (no code: the SDK's list of error codes has none for it)",
    ),
    Rule(
        name="pay_while_processing",
        calls=(_PAY,),
        check=_processing,
        message="This invoice cannot be paid because a payment for it is already processing.",
        code="payment_intent_unexpected_state",
        source="believed; SDK: an intent that is processing cannot be confirmed",
    ),
    Rule(
        name="void_while_processing",
        calls=(_VOID,),
        check=_processing,
        message="You cannot void this invoice because a payment for it is processing.",
        source="github.com/frappe/press/pull/2421: invoices in processing state cannot be voided (message: believed)",
    ),
    Rule(
        name="invoice_paid_with_foreign_method",
        calls=(_PAY,),
        check=_foreign_method,
        message=(
            "The customer does not have a payment method with the ID {method}. The payment method must be attached to "
            "the customer."
        ),
        code="resource_missing",
        param="payment_method",
        source="SDK: InvoicePayParams.payment_method belongs to the customer of the invoice (message: believed)",
    ),
]
