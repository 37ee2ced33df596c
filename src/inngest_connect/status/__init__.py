"""What a running worker shows over HTTP."""
