"""Which of a prompt's ranked responses make up its training list. A module here holds selections."""
