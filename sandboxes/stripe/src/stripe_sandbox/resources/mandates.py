"""/v1/mandates: retrieve; bank debits create them."""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.operation import Operation, retrieve

OPERATIONS = [Operation("GET", "/v1/mandates/{id}", p.MandateRetrieveParams, retrieve("mandate"))]
