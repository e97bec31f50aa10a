"""larpo: LLM alignment as retriever preference optimisation."""

__version__ = "0.2.0"
