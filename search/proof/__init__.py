"""What the winner is worth: fresh seeds, a test split opened once, an interval."""
