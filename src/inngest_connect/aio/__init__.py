"""asyncio shells that know nothing of Inngest: threads, hand-over, waiters, signals. Private."""
