"""Answers: paid for once, stored before anything is derived from them."""
