"""What the person on call gets to see."""
