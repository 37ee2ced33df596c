"""One connection and the attempts to make one: phases, handshake, heartbeats, retries. Private."""
