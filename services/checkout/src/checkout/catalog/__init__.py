"""What the school sells, at which price: items, bundles, sponsors, promotion codes."""
