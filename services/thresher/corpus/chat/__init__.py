"""Conversations: rendered with a chat template, tokenised so that text can never speak as the template."""
