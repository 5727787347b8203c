"""/v1/webhook_endpoints"""

from __future__ import annotations

import stripe
import stripe.params as p

from stripe_sandbox.ids import new_id
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.shapes import build
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def register(sandbox: Sandbox, url: str, secret: str, events: list[str], **values: object) -> Obj:
    """Creates an endpoint with the signing secret `secret`."""
    endpoint = build(
        stripe.WebhookEndpoint,
        id=new_id("we"),
        created=sandbox.clock.now(),
        enabled_events=events,
        status="enabled",
        url=url,
        **{"metadata": {}, **values},
    )
    sandbox.endpoints.set_secret(endpoint["id"], secret)
    return sandbox.store.add(endpoint)


def register_own(sandbox: Sandbox) -> None:
    """Registers the endpoint of the settings for all events, or brings a restored one up to date."""
    settings, own = sandbox.settings, sandbox.internal.own_endpoint
    if not settings.webhook_url:
        return
    secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else new_id("whsec", 32)
    endpoint = sandbox.store.find(own) if own else None
    if endpoint is None:
        created = register(sandbox, settings.webhook_url, secret, ["*"], api_version=settings.api_version)
        sandbox.internal.own_endpoint = created["id"]
        return
    endpoint["url"] = settings.webhook_url
    if settings.webhook_secret and secret not in sandbox.endpoints.secrets(endpoint["id"]):
        sandbox.endpoints.set_secret(endpoint["id"], secret)


def create(call: Call) -> Obj:
    """The only response with the secret."""
    params = call.params
    secret = new_id("whsec", 32)
    endpoint = register(
        call.sandbox,
        params["url"],
        secret,
        params["enabled_events"],
        api_version=params.get("api_version"),
        description=params.get("description") or None,
        metadata=merge_metadata({}, params.get("metadata")),
    )
    return {**endpoint, "secret": secret}


def update(call: Call) -> Obj:
    endpoint = call.sandbox.store.get("webhook_endpoint", call.id)
    params = call.params
    endpoint.update({name: params[name] for name in ("url", "enabled_events", "description") if name in params})
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    if "metadata" in params:
        endpoint["metadata"] = merge_metadata(endpoint["metadata"], params["metadata"])
    return endpoint


def delete(call: Call) -> Obj:
    call.sandbox.store.remove(call.sandbox.store.get("webhook_endpoint", call.id))
    return {"id": call.id, "object": "webhook_endpoint", "deleted": True}


def list_all(call: Call) -> Obj:
    return page(call, matching(call.sandbox.store.all("webhook_endpoint"), call.params), "/v1/webhook_endpoints")


OPERATIONS = [
    Operation("POST", "/v1/webhook_endpoints", p.WebhookEndpointCreateParams, create),
    Operation("GET", "/v1/webhook_endpoints", p.WebhookEndpointListParams, list_all),
    Operation("GET", "/v1/webhook_endpoints/{id}", p.WebhookEndpointRetrieveParams, retrieve("webhook_endpoint")),
    Operation("POST", "/v1/webhook_endpoints/{id}", p.WebhookEndpointUpdateParams, update),
    Operation("DELETE", "/v1/webhook_endpoints/{id}", p.WebhookEndpointDeleteParams, delete),
]
