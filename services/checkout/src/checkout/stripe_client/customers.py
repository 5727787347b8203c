"""Customers, and the payment methods that they have saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import stripe

from checkout.stripe_client.request import StripeCalls, id_of

_ENDED = ("canceled", "incomplete_expired")


@dataclass(frozen=True, kw_only=True)
class SavedMethod:
    """A saved payment method. `brand`, `exp_month` and `exp_year` are of cards only."""

    id: str
    type: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None


class CustomerCalls(StripeCalls):
    async def create_customer(self, *, metadata: Mapping[str, str], key: str) -> str:
        async with self._call("create_customer"):
            customers = self._api.v1.customers
            return (await customers.create_async({"metadata": dict(metadata)}, {"idempotency_key": key})).id

    async def update_customer(self, id: str, *, email: str, name: str | None) -> None:
        """Updates the contact. It has no further effect when repeated, so it needs no idempotency key."""
        async with self._call("update_customer"):
            customers = self._api.v1.customers
            await customers.update_async(id, {"email": email, **({"name": name} if name else {})})

    async def delete_customer(self, id: str) -> None:
        """For good, with all saved payment methods; no error for one that is deleted already."""
        async with self._call("delete_customer"):
            try:
                await self._api.v1.customers.delete_async(id)
            except stripe.InvalidRequestError as error:
                if error.code != "resource_missing":
                    raise

    async def saved_methods(self, customer_id: str) -> list[SavedMethod]:
        """Newest first."""
        async with self._call("saved_methods"):
            found = await self._api.v1.customers.payment_methods.list_async(customer_id, {"limit": 100})
            return [_method(method) async for method in found.auto_paging_iter()]

    async def saved_method(self, customer_id: str, method_id: str) -> SavedMethod:
        """Raises StripeRejected `resource_missing` for another customer's."""
        async with self._call("saved_method"):
            return _method(await self._api.v1.customers.payment_methods.retrieve_async(customer_id, method_id))

    async def default_method(self, customer_id: str) -> str | None:
        async with self._call("default_method"):
            customer = await self._api.v1.customers.retrieve_async(customer_id)
        if getattr(customer, "deleted", False) or customer.invoice_settings is None:
            return None
        default = customer.invoice_settings.default_payment_method
        return None if default is None else id_of(default)

    async def make_default(self, customer_id: str, method_id: str) -> None:
        """Everything that is still to be charged is charged to this method, subscriptions included.

        A subscription's own default outranks its customer's (Stripe SDK 16.1, Subscription.default_payment_method), so
        it is replaced, too, and first: after an error, the old default is still the customer's. Repeating it has no
        further effect. It takes no idempotency key: choosing one, another and the first again would replay a response.
        """
        async with self._call("make_default"):
            subscriptions = await self._api.v1.subscriptions.list_async({"customer": customer_id, "limit": 100})
            async for subscription in subscriptions.auto_paging_iter():
                own = subscription.default_payment_method
                if own is not None and id_of(own) != method_id and subscription.status not in _ENDED:
                    await self._api.v1.subscriptions.update_async(
                        subscription.id, {"default_payment_method": method_id}
                    )
            settings: stripe.params.CustomerUpdateParamsInvoiceSettings = {"default_payment_method": method_id}
            await self._api.v1.customers.update_async(customer_id, {"invoice_settings": settings})

    async def detach_method(self, method_id: str) -> None:
        """Removes it from its customer for good."""
        async with self._call("detach_method"):
            await self._api.v1.payment_methods.detach_async(method_id)

    async def billing_portal(self, customer_id: str, *, return_url: str) -> str:
        """The URL of a page on which the customer manages their payment methods. It is valid for some minutes; another
        one has no side effect, so it needs no idempotency key."""
        async with self._call("billing_portal"):
            sessions = self._api.v1.billing_portal.sessions
            return (await sessions.create_async({"customer": customer_id, "return_url": return_url})).url


def _method(method: stripe.PaymentMethod) -> SavedMethod:
    card = getattr(method, "card", None)
    details = getattr(method, method.type, None)
    return SavedMethod(
        id=method.id,
        type=method.type,
        brand=card.brand if card else None,
        last4=getattr(details, "last4", None),
        exp_month=card.exp_month if card else None,
        exp_year=card.exp_year if card else None,
    )
