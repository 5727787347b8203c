"""One module for each kind of Stripe object. Each function takes the object and the event that contains it."""
