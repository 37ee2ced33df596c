"""Where user functions run. Executors are interchangeable; the SDK is touched in one module."""
