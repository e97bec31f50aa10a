"""Where prompts, demonstrations and ranked lists come from: raw rows of users' files, and their conversion."""
