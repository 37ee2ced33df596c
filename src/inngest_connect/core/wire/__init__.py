"""What is written to the gateway, and what its texts mean. Private."""
