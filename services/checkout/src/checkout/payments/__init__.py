"""What became of the money: payments, refunds, disputes, and how a student pays."""
