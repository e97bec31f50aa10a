"""Language models behind servers that judge responses: how they are asked, and how their decisions are kept."""
