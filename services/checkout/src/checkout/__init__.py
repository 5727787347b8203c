"""What is for sale, at which price, and how somebody comes to pay for it."""
