"""A worker for Inngest Connect."""
