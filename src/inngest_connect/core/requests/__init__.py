"""What outlives a connection: requests, their leases, and their replies. Private."""
