"""KFP pipelines: the loop, evaluation of a policy, and studies."""
