"""What sells best, as a recall channel."""
