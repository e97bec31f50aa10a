"""What a run will take, before anyone pays for it: memory by arithmetic, and hours and cost from rates."""
