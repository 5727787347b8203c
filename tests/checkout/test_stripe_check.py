"""Whether Stripe answers with our key."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.stripe_ids import SECRET_KEY

from checkout.settings import StripeSettings
from checkout.stripe_client import Stripe
from checkout.stripe_client.request import StripeNotConfigured, StripeUnavailable
from testkit.processes import free_ports


@pytest.mark.parametrize(
    ("key", "fails"), [(SECRET_KEY, None), ("sk_test_other", StripeUnavailable), ("", StripeNotConfigured)]
)
async def test_the_key_must_be_valid(stripe_sandbox: StripeSandbox, key: str, fails: type[Exception] | None) -> None:
    stripe = Stripe(StripeSettings(stripe_api_key=SecretStr(key), stripe_api_base=stripe_sandbox.url))
    try:
        if fails is None:
            await stripe.check()
        else:
            with pytest.raises(fails):
                await stripe.check()
    finally:
        await stripe.close()


async def test_stripe_must_answer() -> None:
    base = f"http://127.0.0.1:{free_ports(1)[0]}"
    stripe = Stripe(StripeSettings(stripe_api_key=SecretStr(SECRET_KEY), stripe_api_base=base, stripe_retries=0))
    with pytest.raises(StripeUnavailable):
        await stripe.check()
    await stripe.close()
