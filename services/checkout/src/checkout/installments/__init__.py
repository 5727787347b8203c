"""What is due and when: plans whose installments the school collects itself, and money that does not come by Stripe."""
