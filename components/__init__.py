"""KFP components: one a step, each an import and a call."""
