"""Model servers: what is asked of them, how, and what they can do."""
