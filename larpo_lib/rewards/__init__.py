"""Where rewards come from: rerankers score responses, judges say right or wrong, and answers are read for both."""
