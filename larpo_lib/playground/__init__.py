"""The embedded world: word problems, a tiny policy and demonstrations of mixed quality, all made on the spot."""
