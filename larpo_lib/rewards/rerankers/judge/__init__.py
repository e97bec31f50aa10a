"""Responses scored by a language model behind a server: what it is asked, how it is read, and what that comes to."""
