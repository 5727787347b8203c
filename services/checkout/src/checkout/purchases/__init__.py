"""From a purchase_request to something that can be paid: purchases, and what Stripe is asked for."""
