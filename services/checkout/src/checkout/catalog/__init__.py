"""What the school sells and at which price: items, bundles, sponsors, promotion codes."""
