"""What follows from many analyses at once."""
