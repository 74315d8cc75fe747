"""What turns samples into features."""
